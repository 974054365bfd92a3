//! `#[record(key)]`: the implementation of `RecordKey`.
//!
//! A struct is stored as its fields' stored forms (nested pairs, so there is no limit to their number),
//! an enum as itself. Both hash, encode and decode their fields in order; an enum puts its variant's
//! number first; a struct of one field hashes as that field.
//!
//! Invariant: a stored format: the order of fields and variants decides hash and encoding. Compile time
//! only.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::DeriveInput;
use syn::spanned::Spanned;

use crate::fields::{Field, Shape, bounded};

/// The `RecordKey` of the type.
pub(crate) fn expand(room: &TokenStream, input: &DeriveInput, shape: &Shape<'_>) -> TokenStream {
    let name = &input.ident;
    let generics = bounded(&input.generics, &quote!(#room::RecordKey));
    let (parameters, _, bounds) = generics.split_for_impl();
    let (_, arguments, _) = input.generics.split_for_impl();
    let identity = identity(room, shape);
    let (storage, decoding) = if shape.is_enum {
        (enum_storage(room), enum_decoding(room, shape))
    } else {
        (struct_storage(room, shape), struct_decoding(room, shape))
    };
    quote! {
        #[automatically_derived]
        impl #parameters #room::RecordKey for #name #arguments #bounds {
            #identity
            #storage
            #decoding
        }
    }
}

/// Hash and encoding.
fn identity(room: &TokenStream, shape: &Shape<'_>) -> TokenStream {
    let (mut hashes, mut encodings) = (Vec::new(), Vec::new());
    for (number, variant) in shape.variants.iter().enumerate() {
        let pattern = &variant.pattern;
        let number = number as u32;
        let variant_hash = shape
            .is_enum
            .then(|| quote!(#room::KeyHash::of_u64(#number as u64)));
        let field_hashes = variant.fields.iter().map(|Field { binding, ty, .. }| {
            quote_spanned!(ty.span()=> <#ty as #room::RecordKey>::key_hash(#binding))
        });
        let hash = variant_hash
            .into_iter()
            .chain(field_hashes)
            .reduce(|first, next| quote!(#first.combine(#next)))
            .unwrap_or_else(|| quote!(#room::KeyHash::of_u64(0)));
        hashes.push(quote!(#pattern => #hash));
        let variant_code = shape
            .is_enum
            .then(|| quote!(#room::order::encode_u32(#number, out);));
        let field_codes = variant.fields.iter().map(|Field { binding, ty, .. }| {
            quote_spanned!(ty.span()=> <#ty as #room::RecordKey>::encode_key(#binding, out);)
        });
        encodings.push(quote!(#pattern => { #variant_code #(#field_codes)* }));
    }
    quote! {
        #[inline]
        fn key_hash(&self) -> #room::KeyHash {
            match self { #(#hashes),* }
        }

        #[inline]
        #[allow(unused_variables, reason = "a type without fields encodes to nothing")]
        fn encode_key(&self, out: &mut ::std::vec::Vec<u8>) {
            match self { #(#encodings),* }
        }
    }
}

/// Kept as it is.
fn enum_storage(room: &TokenStream) -> TokenStream {
    quote! {
        type Stored = Self;

        #[inline]
        fn is_stored(&self, stored: &Self) -> bool {
            ::std::cmp::PartialEq::eq(self, stored)
        }

        #[inline]
        fn to_stored(&self) -> Self {
            ::std::clone::Clone::clone(self)
        }

        #[inline]
        fn from_stored(stored: &Self) -> Self {
            ::std::clone::Clone::clone(stored)
        }

        #[inline]
        fn stored_heap_bytes(stored: &Self) -> usize {
            #room::Record::heap_bytes(stored)
        }
    }
}

/// Kept as `(first, (second, (third, ())))` of the fields' stored forms.
fn struct_storage(room: &TokenStream, shape: &Shape<'_>) -> TokenStream {
    let fields: Vec<_> = shape
        .variants
        .iter()
        .flat_map(|variant| &variant.fields)
        .collect();
    let nest = |part: &dyn Fn(&Field<'_>) -> TokenStream| {
        fields.iter().rev().fold(quote!(()), |rest, field| {
            let part = part(field);
            quote!((#part, #rest))
        })
    };
    let stored_type =
        nest(&|Field { ty, .. }| quote_spanned!(ty.span()=> <#ty as #room::RecordKey>::Stored));
    let stored_pattern = nest(&|Field { binding, .. }| quote!(#binding));
    let to_stored = if fields.is_empty() {
        // Not a bare `()`, which lints of the user's crate may dislike.
        quote!(::std::default::Default::default())
    } else {
        nest(
            &|Field { member, ty, .. }| quote!(<#ty as #room::RecordKey>::to_stored(&self.#member)),
        )
    };
    let same = fields.iter().map(
        |Field {
             binding,
             member,
             ty,
         }| { quote!(&& <#ty as #room::RecordKey>::is_stored(&self.#member, #binding)) },
    );
    let assign = fields.iter().map(
        |Field {
             binding,
             member,
             ty,
         }| { quote!(<#ty as #room::RecordKey>::assign_to(&self.#member, #binding);) },
    );
    let lent = fields.iter().map(
        |Field {
             binding,
             member,
             ty,
         }| { quote!(#member: <#ty as #room::RecordKey>::from_stored(#binding)) },
    );
    let sizes = fields.iter().map(|Field { binding, ty, .. }| {
        quote!(+ <#ty as #room::RecordKey>::stored_heap_bytes(#binding))
    });
    quote! {
        type Stored = #stored_type;

        #[inline]
        fn is_stored(&self, #stored_pattern: &Self::Stored) -> bool {
            true #(#same)*
        }

        #[inline]
        fn to_stored(&self) -> Self::Stored {
            #to_stored
        }

        #[inline]
        fn assign_to(&self, #stored_pattern: &mut Self::Stored) {
            #(#assign)*
        }

        #[inline]
        fn from_stored(#stored_pattern: &Self::Stored) -> Self {
            Self { #(#lent),* }
        }

        #[inline]
        fn stored_heap_bytes(#stored_pattern: &Self::Stored) -> usize {
            0usize #(#sizes)*
        }
    }
}

/// The variant's number, then its fields.
fn enum_decoding(room: &TokenStream, shape: &Shape<'_>) -> TokenStream {
    let decodings = shape.variants.iter().enumerate().map(|(number, variant)| {
        let (number, path) = (number as u32, &variant.path);
        let fields = variant.fields.iter().map(|Field { member, ty, .. }| {
            quote_spanned!(ty.span()=> #member: <#ty as #room::RecordKey>::from_stored(
                &<#ty as #room::RecordKey>::decode_stored(input)?
            ))
        });
        quote!(#number => ::std::result::Result::Ok(#path { #(#fields),* }))
    });
    quote! {
        fn decode_stored(
            input: &mut &[u8],
        ) -> ::std::result::Result<Self, #room::order::DamagedKey> {
            match #room::order::decode_u32(input)? {
                #(#decodings,)*
                _ => ::std::result::Result::Err(
                    #room::order::DamagedKey::new("an enum has no variant of its number")
                ),
            }
        }
    }
}

/// The fields' stored forms, as they are kept.
fn struct_decoding(room: &TokenStream, shape: &Shape<'_>) -> TokenStream {
    let fields = shape
        .variants
        .iter()
        .flat_map(|variant| &variant.fields)
        .rev();
    let decoded = fields.fold(None, |rest: Option<TokenStream>, Field { ty, .. }| {
        let field = quote_spanned!(ty.span()=> <#ty as #room::RecordKey>::decode_stored(input)?);
        let rest = rest.unwrap_or_else(|| quote!(()));
        Some(quote!((#field, #rest)))
    });
    // Not a bare `()`, which lints of the user's crate may dislike.
    let decoded = decoded.unwrap_or_else(|| quote!(::std::default::Default::default()));
    quote! {
        #[inline]
        #[allow(unused_variables, reason = "a type without fields decodes from nothing")]
        fn decode_stored(
            input: &mut &[u8],
        ) -> ::std::result::Result<Self::Stored, #room::order::DamagedKey> {
            ::std::result::Result::Ok(#decoded)
        }
    }
}
