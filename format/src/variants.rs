//! Enums that may grow: stored as a number of 32 bits, as bincode stores any, and read as `Other` when the number is unknown.

/// Declares, once, which number stands for which variant.
macro_rules! numbered {
    ($name:ident { $($number:literal $variant:ident),* $(,)? }) => {
        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => $number,)* $name::Other(other) => other }
            }
        }
    };
}

pub(crate) use numbered;
