//! Loops compiled once for each instruction set.

/// Defines a function of a [`Level`](crate::nhwc::Level) and its arguments, whose body is compiled for each level.
///
/// Loops must stand in the body itself or in functions marked `#[inline(always)]`: a closure is compiled for the lowest
/// level only. Generic parameters go in brackets: `fn name[C: Curve](x: &[f32]) { ... }`. Products and sums are not
/// contracted, so that each level gives the same numbers.
macro_rules! leveled {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $([$($generic:ident: $bound:path),+])?
        ($($argument:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name $(<$($generic: $bound),+>)? (level: $crate::nhwc::Level, $($argument: $type),*) $(-> $out)? {
            #[inline(always)]
            fn portable $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $out)? {
                portable $(::<$($generic),+>)? ($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$($generic: $bound),+>)? ($($argument: $type),*) $(-> $out)? {
                portable $(::<$($generic),+>)? ($($argument),*)
            }

            match level {
                // SAFETY: a level is never above what the processor has.
                #[cfg(target_arch = "x86_64")]
                $crate::nhwc::Level::Avx512 => unsafe { avx512 $(::<$($generic),+>)? ($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::nhwc::Level::Avx2 => unsafe { avx2 $(::<$($generic),+>)? ($($argument),*) },
                _ => portable $(::<$($generic),+>)? ($($argument),*),
            }
        }
    };
}
pub(crate) use leveled;
