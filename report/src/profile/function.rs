//! A function with its samples, and what kind of code it is.

use std::sync::Arc;

use crate::symbols::Home;

/// One function and its samples, or what stands in the place of functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its readable name; `module+0xoffset` when it has none.
    pub name: Arc<str>,
    /// The name of the module that it is in; empty when it is no function.
    pub module: Arc<str>,
    /// What kind of code it is.
    pub code: Code,
    /// Whether it is a location without a name.
    pub unnamed: bool,
    /// The source file of `line`.
    pub file: Option<Arc<str>>,
    /// The line that most of its samples were at.
    pub line: Option<u32>,
    /// Samples in which it was the innermost frame.
    pub self_samples: u64,
    /// Samples in which it appeared, however often.
    pub total_samples: u64,
    /// Of these, those in which a frame of it was inlined into another.
    pub inlined_samples: u64,
    /// Of these, those in which a frame of it was found by a rule of thumb.
    pub guessed_samples: u64,
}

impl Function {
    /// One that is not counted yet.
    pub(crate) fn new(name: Arc<str>, module: Arc<str>, code: Code) -> Self {
        Self {
            name,
            module,
            code,
            unnamed: false,
            file: None,
            line: None,
            self_samples: 0,
            total_samples: 0,
            inlined_samples: 0,
            guessed_samples: 0,
        }
    }

    /// The same without its samples.
    pub(super) fn uncounted(&self) -> Self {
        Self { self_samples: 0, total_samples: 0, inlined_samples: 0, guessed_samples: 0, ..self.clone() }
    }
}

/// Kinds of code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Of a program or library.
    #[default]
    User,
    /// Of the kernel or one of its modules.
    Kernel,
    /// Made at run time.
    Jit,
}

impl Code {
    /// The kind of what lives there.
    pub fn of(home: &Home) -> Self {
        match home {
            Home::Kernel(_) => Self::Kernel,
            Home::Jit => Self::Jit,
            Home::Module(_) | Home::Outside => Self::User,
        }
    }

    /// A stable name, used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
            Self::Jit => "jit",
        }
    }
}
