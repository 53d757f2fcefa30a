//! One shape for every enum whose variants are words: the same text in SQL, in JSON, in OpenAPI, in logs and metrics.
//!
//! `text_enum! { pub enum Direction { Credit = "credit", Debit = "debit" } }` gives `Direction::ALL`, `name()`, `parse()`, a `FromStr`
//! that says which words there are, serde's and utoipa's traits, and a column of type `text` that reads as it (`direction as
//! "direction: Direction"`). A claim of work reads words as text instead and parses row by row, so that a word which only a newer
//! release knows fails one row and not the queue.

macro_rules! text_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:tt),+ $(,)? }) => {
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, utoipa::ToSchema,
        )]
        $(#[$meta])*
        $vis enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            $vis const ALL: &'static [Self] = &[$(Self::$variant),+];

            $vis const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            $vis fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|variant| variant.name() == text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::platform::text_enum::NotOneOf;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text).ok_or(crate::platform::text_enum::NotOneOf(&[$($text),+]))
            }
        }

        // serde's own takes `{"word": null}` for the word as well.
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str> as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::unknown_variant(&text, &[$($text),+]))
            }
        }

        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <str as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(other: &sqlx::postgres::PgTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::Postgres>>::compatible(other)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                let text = <&str as sqlx::Decode<sqlx::Postgres>>::decode(value)?;
                Self::parse(text).ok_or_else(|| format!("{text} is no {}", stringify!($name)).into())
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                <&str as sqlx::Encode<sqlx::Postgres>>::encode_by_ref(&self.name(), buffer)
            }
        }
    };
}

pub(crate) use text_enum;

/// A text that is none of these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::listed(.0))]
pub struct NotOneOf(pub &'static [&'static str]);

impl NotOneOf {
    /// `must be one, two or three`.
    pub(crate) fn listed(words: &[impl AsRef<str>]) -> String {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        match words.as_slice() {
            [rest @ .., last] if !rest.is_empty() => format!("must be {} or {last}", rest.join(", ")),
            _ => format!("must be {}", words.concat()),
        }
    }
}
