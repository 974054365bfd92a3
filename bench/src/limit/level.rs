//! Which vector instructions this CPU has, found once at run time.
//!
//! The binary is built for the baseline of its architecture; kernels are compiled once per level and
//! chosen here. Invariant: a [`Level`] above portable exists only if the CPU was asked and has it,
//! which is what makes calling a kernel of that level sound.

use std::fmt;

/// A set of instructions a kernel may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The architecture's baseline.
    Portable,
    /// AVX2 and BMI.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VBMI2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Proof that this CPU has a set of instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Level(Kind);

impl Level {
    /// The best level of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// All levels of this CPU, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512vbmi2");
            if avx512 {
                levels.push(Self(Kind::Avx512));
            }
            if avx2 {
                levels.push(Self(Kind::Avx2));
            }
        }
        levels.push(Self(Kind::Portable));
        levels
    }

    pub(super) fn kind(self) -> Kind {
        self.0
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Compiles one inline body once per level and dispatches to it.
///
/// The body is given as an `#[inline(always)]` function with a const parameter that tells whether the
/// wide intrinsics (AVX2 and up: 1, AVX-512: 2) may be used in it.
macro_rules! per_level {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        #[inline]
        fn $name(level: $crate::limit::level::Level, $($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            mod compiled {
                #[allow(clippy::wildcard_imports, reason = "the macro's user names the types")]
                use super::*;
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                pub(super) fn avx2($($arg: $type),*) $(-> $ret)? {
                    $body::<1>($($arg),*)
                }
                #[target_feature(
                    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt"
                )]
                pub(super) fn avx512($($arg: $type),*) $(-> $ret)? {
                    $body::<2>($($arg),*)
                }
            }
            match level.kind() {
                // SAFETY: a level of this kind exists only where the CPU has the instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::limit::level::Kind::Avx512 => unsafe { compiled::avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::limit::level::Kind::Avx2 => unsafe { compiled::avx2($($arg),*) },
                $crate::limit::level::Kind::Portable => $body::<0>($($arg),*),
            }
        }
    };
}
pub(super) use per_level;
