//! `#[record]`: what the type says it is made of.
//!
//! A line of text with the names of fields and variants as they are written, or as `name` says they are called, and
//! their types, which say themselves what they are made of. Invariant: whatever decides the archive is part of it:
//! the order of fields and variants, discriminants, adapters of rkyv. A stored format. Compile time only.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, LitStr, Type, Variant};

/// Says nothing about what an archive looks like.
const OF_NO_ACCOUNT: [&str; 11] = [
    "omit_bounds",
    "derive",
    "compare",
    "attr",
    "archived",
    "resolver",
    "crate",
    "archive_bounds",
    "serialize_bounds",
    "deserialize_bounds",
    "bytecheck",
];

/// A piece of the line.
enum Piece<'a> {
    Text(String),
    Type(&'a Type),
}

/// The line of a type while it is put together.
#[derive(Default)]
struct Line<'a>(Vec<Piece<'a>>);

impl<'a> Line<'a> {
    fn text(&mut self, more: &str) {
        if let Some(Piece::Text(text)) = self.0.last_mut() {
            text.push_str(more);
        } else {
            self.0.push(Piece::Text(more.to_owned()));
        }
    }

    fn fields(&mut self, fields: &'a Fields) -> syn::Result<()> {
        let (open, close) = match fields {
            Fields::Named(_) => ("{", "}"),
            Fields::Unnamed(_) => ("(", ")"),
            Fields::Unit => return Ok(()),
        };
        self.text(open);
        for (at, field) in fields.iter().enumerate() {
            self.text(if at == 0 { "" } else { ", " });
            if let Some(name) = &field.ident {
                self.text(&format!("{}: ", called(name, &field.attrs)?));
            }
            self.0.push(Piece::Type(&field.ty));
            self.text(&adapters(&field.attrs));
        }
        self.text(close);
        Ok(())
    }

    fn variant(&mut self, variant: &'a Variant) -> syn::Result<()> {
        self.text(&called(&variant.ident, &variant.attrs)?);
        self.fields(&variant.fields)?;
        if let Some((_, discriminant)) = &variant.discriminant {
            self.text(&format!("={}", plain(discriminant.to_token_stream())));
        }
        self.text(&adapters(&variant.attrs));
        Ok(())
    }
}

/// `Record::describe` of the type.
pub(crate) fn expand(
    room: &TokenStream,
    input: &DeriveInput,
    name: Option<&str>,
) -> syn::Result<TokenStream> {
    let mut line = Line::default();
    let own = input.ident.unraw().to_string();
    line.text(name.unwrap_or(&own));
    match &input.data {
        Data::Struct(data) => {
            line.fields(&data.fields)?;
            if matches!(data.fields, Fields::Unit) {
                line.text("{}");
            }
        }
        Data::Enum(data) => {
            line.text("[");
            for (at, variant) in data.variants.iter().enumerate() {
                line.text(if at == 0 { "" } else { " | " });
                line.variant(variant)?;
            }
            line.text("]");
        }
        Data::Union(_) => {}
    }
    line.text(&adapters(&input.attrs));
    let pieces = line.0.iter().map(|piece| match piece {
        Piece::Text(text) => quote!(to.text(#text);),
        Piece::Type(ty) => {
            // The type's own place is for complaints about it; what is passed must not be looked for there.
            let describe = quote_spanned!(ty.span()=> <#ty as #room::Record>::describe);
            quote!(#describe(to);)
        }
    });
    Ok(quote! {
        fn describe(to: &mut #room::SchemaWriter) {
            to.named::<Self>(|to| { #(#pieces)* });
        }
    })
}

/// The type as it is given to the compiler: without what only this attribute understands.
pub(crate) fn without_names(input: &DeriveInput) -> DeriveInput {
    let mut input = input.clone();
    let strip = |attributes: &mut Vec<Attribute>| attributes.retain(|it| !is_ours(it));
    let strip_all = |fields: &mut Fields| fields.iter_mut().for_each(|it| strip(&mut it.attrs));
    match &mut input.data {
        Data::Struct(data) => strip_all(&mut data.fields),
        Data::Enum(data) => {
            for variant in &mut data.variants {
                strip(&mut variant.attrs);
                strip_all(&mut variant.fields);
            }
        }
        Data::Union(_) => {}
    }
    input
}

fn is_ours(attribute: &Attribute) -> bool {
    attribute.path().is_ident("record")
}

/// What a field or variant is called in texts that are kept.
fn called(name: &Ident, attributes: &[Attribute]) -> syn::Result<String> {
    let mut called = name.unraw().to_string();
    for attribute in attributes.iter().filter(|it| is_ours(it)) {
        attribute.parse_nested_meta(|argument| {
            if !argument.path.is_ident("name") {
                return Err(argument.error("expected `name = \"...\"`"));
            }
            called = name_of(&argument.value()?.parse()?)?;
            Ok(())
        })?;
    }
    Ok(called)
}

/// A name that was given as a text.
pub(crate) fn name_of(name: &LitStr) -> syn::Result<String> {
    match name.parse_with(Ident::parse_any) {
        Ok(ident) => Ok(ident.unraw().to_string()),
        Err(_) => {
            let message =
                "a name in `name = \"...\"` is one that Rust could give: letters, digits and `_`";
            Err(syn::Error::new(name.span(), message))
        }
    }
}

/// What rkyv is told about the archive of a field, a variant or the type.
fn adapters(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes.iter().filter(|it| it.path().is_ident("rkyv")) {
        let syn::Meta::List(list) = &attribute.meta else {
            continue;
        };
        for part in parts(list.tokens.clone()) {
            let part = plain(part);
            let key = part.split(['=', '(']).next().unwrap_or_default();
            if !OF_NO_ACCOUNT.contains(&key) {
                text.push_str(&format!(" as {part}"));
            }
        }
    }
    text
}

/// The tokens between commas.
fn parts(tokens: TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    for token in tokens {
        let comma = matches!(&token, TokenTree::Punct(sign) if sign.as_char() == ',');
        match parts.last_mut() {
            Some(last) if !comma => last.extend([token]),
            _ => parts.push(TokenStream::new()),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Tokens as text that does not depend on how the compiler spaces them.
fn plain(tokens: TokenStream) -> String {
    let mut text = String::new();
    for token in tokens {
        let next = match token {
            TokenTree::Group(group) => {
                let inside = plain(group.stream());
                match group.delimiter() {
                    proc_macro2::Delimiter::Parenthesis => format!("({inside})"),
                    proc_macro2::Delimiter::Brace => format!("{{{inside}}}"),
                    proc_macro2::Delimiter::Bracket => format!("[{inside}]"),
                    proc_macro2::Delimiter::None => inside,
                }
            }
            other => other.to_string(),
        };
        let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
        if text.ends_with(is_word) && next.starts_with(is_word) {
            text.push(' ');
        }
        text.push_str(&next.replace(char::is_control, " "));
    }
    text
}
