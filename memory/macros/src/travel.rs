//! `#[record]`: rkyv's derives and the implementation of `Record`.
//!
//! Invariant: the implementation names every field's type as a record, so that among the complaints about
//! a field that cannot travel one points at that field in the engine's own words. Compile time only.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, parse_quote};

use crate::fields::{Shape, bounded};

/// The type itself, with derives, and its `Record`.
pub(crate) fn expand(
    room: &TokenStream,
    input: &DeriveInput,
    shape: &Shape<'_>,
    description: &TokenStream,
) -> TokenStream {
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
    let copies = shape.variants.iter().map(|variant| {
        let (pattern, path) = (&variant.pattern, &variant.path);
        let fields = variant.fields.iter().map(|field| {
            let (binding, member, ty) = (&field.binding, &field.member, field.ty);
            quote_spanned!(ty.span()=> #member: <#ty as #room::Record>::plain_copy(#binding)?)
        });
        quote!(#pattern => #path { #(#fields),* })
    });
    let input = without_endless_bounds(room, input);
    quote! {
        #[derive(#room::rkyv::Archive, #room::rkyv::Serialize, #room::rkyv::Deserialize)]
        #[rkyv(crate = #room::rkyv)]
        #input

        #[automatically_derived]
        impl #parameters #room::Record for #name #arguments #bounds {
            #out_of_line

            #description

            fn heap_bytes(&self) -> usize {
                match self { #(#arms),* }
            }

            #[inline]
            fn plain_copy(&self) -> ::std::option::Option<Self> {
                ::std::option::Option::Some(match self { #(#copies),* })
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

/// A type that contains itself (behind a box or in a collection) would ask for itself in the bounds of
/// rkyv's derives, without end. Those fields are left out of the bounds, which then name what the
/// containers need.
fn without_endless_bounds(room: &TokenStream, input: &DeriveInput) -> DeriveInput {
    let mut input = input.clone();
    let name = input.ident.clone();
    let fields: Vec<&mut Field> = match &mut input.data {
        Data::Struct(data) => data.fields.iter_mut().collect(),
        Data::Enum(data) => data
            .variants
            .iter_mut()
            .flat_map(|one| one.fields.iter_mut())
            .collect(),
        Data::Union(_) => Vec::new(),
    };
    let mut recursive = false;
    for field in fields {
        let own_bounds = field
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("rkyv"));
        if !own_bounds && mentions(field.ty.to_token_stream(), &name) {
            field.attrs.push(parse_quote!(#[rkyv(omit_bounds)]));
            recursive = true;
        }
    }
    if recursive {
        input.attrs.push(parse_quote!(#[rkyv(
            serialize_bounds(
                __S: #room::rkyv::ser::Writer + #room::rkyv::ser::Allocator,
                __S::Error: #room::rkyv::rancor::Source,
            ),
            deserialize_bounds(__D::Error: #room::rkyv::rancor::Source),
            bytecheck(bounds(
                __C: #room::rkyv::validation::ArchiveContext,
                __C::Error: #room::rkyv::rancor::Source,
            )),
        )]));
    }
    input
}

/// Whether the type's own name occurs in the tokens.
fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name || ident == "Self",
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}
