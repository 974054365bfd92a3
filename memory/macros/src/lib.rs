//! The attribute that makes a user's type a record.
//!
//! Entered by the compiler at `#[record]`, left with the type's own definition plus rkyv's derives and
//! the implementations of `Record` (and `RecordKey`). Tokens in, tokens out: no state, no files.
//!
//! Invariant: the expansion contains no code that is not derived from the fields in the open: a field
//! that cannot travel is reported at that field, also in the words of the `Record` trait.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;

mod arguments;
mod fields;
mod key;
mod schema;
mod travel;

/// Makes a struct or enum a record: a value that can be written into a segment, cross between shards
/// and hosts, and be part of saved state.
///
/// - `#[record]`: every field must be a record. The archived twin is called `Archived` + name.
/// - `#[record(key)]`: also a key; every field must be a key. An enum must be `Clone` and `PartialEq`.
/// - `#[record(name = "Order")]`: what it is called where state is kept, if not as in the program. A copy of the state says
///   what its types are made of, names included: a type that is only called otherwise now keeps its former name by
///   this, and the former shape of a type can stand beside the present one under a name of its own, for
///   `migrated_from`. On a field or a variant it does the same for that.
/// - `#[record(crate = path)]`: where the `record` module lies, if not in `::thalweg`.
///
/// Further `#[rkyv(...)]` attributes on the type and its fields are passed on.
#[proc_macro_attribute]
pub fn record(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = syn::parse_macro_input!(arguments as arguments::Arguments);
    let input = syn::parse_macro_input!(item as syn::DeriveInput);
    expand(&arguments, &input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn expand(
    arguments: &arguments::Arguments,
    input: &syn::DeriveInput,
) -> syn::Result<proc_macro2::TokenStream> {
    let description = schema::expand(&arguments.room, input, arguments.name.as_deref())?;
    let input = schema::without_names(input);
    let shape = fields::Shape::of(&input)?;
    let mut tokens = travel::expand(&arguments.room, &input, &shape, &description);
    if arguments.key {
        tokens.extend(key::expand(&arguments.room, &input, &shape));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &str, item: &str) -> Result<String, String> {
        let arguments = syn::parse_str(arguments).map_err(|error: syn::Error| error.to_string())?;
        let input = syn::parse_str(item).map_err(|error: syn::Error| error.to_string())?;
        expand(&arguments, &input)
            .map(|tokens| tokens.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_room_is_the_facade_unless_named() {
        let facade = expanded("", "struct A { b: u8 }").unwrap();
        assert!(
            facade.contains(":: thalweg :: record :: Record for A"),
            "{facade}"
        );
        let inner = expanded("crate = thalweg_memory", "struct A(u8);").unwrap();
        assert!(
            inner.contains(":: thalweg_memory :: record :: Record for A"),
            "{inner}"
        );
        assert!(!inner.contains(":: thalweg :: record"), "{inner}");
        let own = expanded("key, crate = crate::inner", "struct A;").unwrap();
        assert!(
            own.contains("crate :: inner :: record :: RecordKey for A"),
            "{own}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let union = expanded("", "union A { b: u8 }").unwrap_err();
        assert!(union.contains("struct or enum"), "{union}");
        let empty = expanded("", "enum A {}").unwrap_err();
        assert!(empty.contains("no values"), "{empty}");
        let argument = expanded("keys", "struct A;").unwrap_err();
        assert!(
            argument.contains("`key`") && argument.contains("`crate = ...`"),
            "{argument}"
        );
        let name = expanded("name = \"Order<u64>\"", "struct A;").unwrap_err();
        assert!(name.contains("letters"), "{name}");
        let field = expanded("", "struct A { #[record(key)] b: u8 }").unwrap_err();
        assert!(field.contains("`name = "), "{field}");
        let borrowed = expanded("", "struct A<'a> { b: &'a str }").unwrap_err();
        assert!(borrowed.contains("borrow"), "{borrowed}");
    }
}
