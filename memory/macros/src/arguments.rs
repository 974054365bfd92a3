//! What stands in the parentheses of `#[record(...)]`.
//!
//! Invariant: `room` is a path that ends in the `record` module. Compile time only.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Path, Token};

use crate::schema::name_of;

/// The arguments of the attribute.
pub(crate) struct Arguments {
    /// The path of the `record` module.
    pub(crate) room: TokenStream,
    /// Whether the type is to be a key.
    pub(crate) key: bool,
    /// What it is called in texts that are kept, if not as in the program.
    pub(crate) name: Option<String>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Arguments> {
        let mut arguments = Arguments {
            room: quote!(::thalweg::record),
            key: false,
            name: None,
        };
        while !input.is_empty() {
            if input.parse::<Option<Token![crate]>>()?.is_some() {
                input.parse::<Token![=]>()?;
                arguments.room = room(&input.call(Path::parse_mod_style)?);
            } else {
                let argument: syn::Ident = input.parse()?;
                if argument == "key" {
                    arguments.key = true;
                } else if argument == "name" {
                    input.parse::<Token![=]>()?;
                    arguments.name = Some(name_of(&input.parse()?)?);
                } else {
                    let message = "expected `key`, `name = \"...\"` or `crate = ...`";
                    return Err(syn::Error::new(argument.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

/// `thalweg_memory` means the crate of that name, wherever the type is defined.
fn room(path: &Path) -> TokenStream {
    let starts_here = path.leading_colon.is_some()
        || path.segments.first().is_some_and(|first| {
            first.ident == "crate" || first.ident == "self" || first.ident == "super"
        });
    if starts_here {
        quote!(#path::record)
    } else {
        quote!(::#path::record)
    }
}
