//! `#[record]`: rkyv's derives and the implementation of `Record`.
//!
//! Invariant: the implementation names every field's type as a record, so that the first complaint about
//! a field that cannot travel is the engine's own. Compile time only.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::DeriveInput;
use syn::spanned::Spanned;

use crate::fields::{Shape, bounded};

/// The type itself, with derives, and its `Record`.
pub(crate) fn expand(room: &TokenStream, input: &DeriveInput, shape: &Shape<'_>) -> TokenStream {
    let name = &input.ident;
    let generics = bounded(&input.generics, &quote!(#room::Record));
    let (parameters, _, bounds) = generics.split_for_impl();
    let (_, arguments, _) = input.generics.split_for_impl();
    let out_of_line = out_of_line(room, shape);
    let arms = shape.variants.iter().map(|variant| {
        let pattern = &variant.pattern;
        let sizes = variant.fields.iter().map(|field| {
            let (binding, ty) = (&field.binding, field.ty);
            quote_spanned!(ty.span()=> <#ty as #room::Record>::heap_bytes(#binding))
        });
        quote!(#pattern => 0usize #(+ #sizes)*)
    });
    quote! {
        #[derive(#room::rkyv::Archive, #room::rkyv::Serialize, #room::rkyv::Deserialize)]
        #[rkyv(crate = #room::rkyv)]
        #input

        #[automatically_derived]
        impl #parameters #room::Record for #name #arguments #bounds {
            #out_of_line

            fn heap_bytes(&self) -> usize {
                match self { #(#arms),* }
            }
        }
    }
}

/// Whether any field has out-of-line data; left to the trait where rkyv archives it as something else.
fn out_of_line(room: &TokenStream, shape: &Shape<'_>) -> TokenStream {
    if shape.adapted {
        return TokenStream::new();
    }
    let parts = shape
        .types()
        .map(|ty| quote_spanned!(ty.span()=> <#ty as #room::Record>::OUT_OF_LINE));
    quote!(const OUT_OF_LINE: bool = false #(|| #parts)*;)
}
