//! A type's fields, seen the same way for structs and enums.
//!
//! A struct is one variant without a name. Entered with the parsed type, left with patterns and types to
//! build code from. Compile time only.
//!
//! Invariant: every field has a binding that is unique in its variant.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Fields, GenericParam, Generics, Type};

/// The fields of a type.
pub(crate) struct Shape<'a> {
    /// One for a struct, one per variant for an enum.
    pub(crate) variants: Vec<Variant<'a>>,
    /// Whether it is an enum.
    pub(crate) is_enum: bool,
    /// Whether some field is archived through an adapter of rkyv.
    pub(crate) adapted: bool,
}

/// A struct's fields, or an enum variant's.
pub(crate) struct Variant<'a> {
    /// Its name, to make one.
    pub(crate) path: TokenStream,
    /// Matches the variant by reference and binds all fields.
    pub(crate) pattern: TokenStream,
    /// The fields in order.
    pub(crate) fields: Vec<Field<'a>>,
}

/// A field and the name its pattern binds it to.
pub(crate) struct Field<'a> {
    /// What the pattern calls it.
    pub(crate) binding: Ident,
    /// How the type calls it: a name or an index.
    pub(crate) member: TokenStream,
    /// Its type.
    pub(crate) ty: &'a Type,
}

impl<'a> Shape<'a> {
    /// The shape of `input`.
    pub(crate) fn of(input: &'a DeriveInput) -> syn::Result<Shape<'a>> {
        if let Some(lifetime) = input.generics.lifetimes().next() {
            let message = "a record cannot borrow: it outlives whatever it was made from";
            return Err(syn::Error::new(lifetime.lifetime.span(), message));
        }
        let refuse = |message| Err(syn::Error::new(input.ident.span(), message));
        match &input.data {
            Data::Union(_) => refuse("a record is a struct or enum"),
            Data::Enum(data) if data.variants.is_empty() => {
                refuse("an enum without variants has no values to record")
            }
            Data::Struct(data) => Ok(Shape {
                variants: vec![Variant::of(&quote!(Self), &data.fields)],
                is_enum: false,
                adapted: is_adapted(&data.fields),
            }),
            Data::Enum(data) => Ok(Shape {
                variants: data
                    .variants
                    .iter()
                    .map(|variant| {
                        let name = &variant.ident;
                        Variant::of(&quote!(Self::#name), &variant.fields)
                    })
                    .collect(),
                is_enum: true,
                adapted: data
                    .variants
                    .iter()
                    .any(|variant| is_adapted(&variant.fields)),
            }),
        }
    }

    /// All field types.
    pub(crate) fn types(&self) -> impl Iterator<Item = &'a Type> {
        self.variants
            .iter()
            .flat_map(|variant| variant.fields.iter().map(|field| field.ty))
    }
}

impl<'a> Variant<'a> {
    fn of(path: &TokenStream, fields: &'a Fields) -> Variant<'a> {
        let fields: Vec<_> = fields
            .iter()
            .zip(fields.members())
            .enumerate()
            .map(|(at, (field, member))| Field {
                binding: format_ident!("field_{at}"),
                member: quote!(#member),
                ty: &field.ty,
            })
            .collect();
        let members = fields.iter().map(|field| &field.member);
        let bindings = fields.iter().map(|field| &field.binding);
        // A tuple struct may be matched by its indices as well.
        Variant {
            path: path.clone(),
            pattern: quote!(#path { #(#members: #bindings),* }),
            fields,
        }
    }
}

/// Whether rkyv is told to archive a field as something else than its type.
fn is_adapted(fields: &Fields) -> bool {
    fields
        .iter()
        .flat_map(|field| &field.attrs)
        .any(|attribute| attribute.path().is_ident("rkyv"))
}

/// The generics with `bound` on every type parameter.
pub(crate) fn bounded(generics: &Generics, bound: &TokenStream) -> Generics {
    let mut generics = generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter
                .bounds
                .push(syn::TypeParamBound::Verbatim(bound.clone()));
        }
    }
    generics
}
