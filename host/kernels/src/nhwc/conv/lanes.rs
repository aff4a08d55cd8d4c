//! Vectors of `f32`: kernels are written once over [`Lanes`] and compiled for each [`Level`].

use super::super::Level;

/// A vector register, or what stands for one.
///
/// # Safety
/// All functions: the processor has the instructions of the implementing type; pointers hold the elements that are named.
pub(crate) trait Lanes: Copy + Send + Sync + 'static {
    /// Elements.
    const N: usize;
    /// Rows of one vector, and rows of two, that fit the registers beside the operands.
    const ROWS: [usize; 2];

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` elements, 0 in the others.
    unsafe fn load_some(from: *const f32, count: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Stores the first `count` elements.
    unsafe fn store_some(self, to: *mut f32, count: usize);
    /// `self * b + c`; rounded once where the processor can.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    unsafe fn add(self, b: Self) -> Self;
    unsafe fn sub(self, b: Self) -> Self;
    unsafe fn mul(self, b: Self) -> Self;
    /// The larger; `b` when either is not a number.
    unsafe fn max(self, b: Self) -> Self;
    /// The smaller; `b` when either is not a number.
    unsafe fn min(self, b: Self) -> Self;
    /// `self` where `condition` is above 0, else 0.
    unsafe fn where_positive(self, condition: Self) -> Self;
    /// Runs a job in a function compiled for this type, which is not inlined.
    unsafe fn call<J: Job>(job: J) -> J::Output;

    /// `c` and the products of the two bf16 in each lane of `self` and `b`. Only in jobs of [`Lanes::call_pairs`].
    unsafe fn pairs(self, _: Self, _: Self) -> Self {
        unreachable!("pairs of bf16 need AVX512-BF16")
    }
    /// Rounds two vectors to bf16, in the order of memory. Only in jobs of [`Lanes::call_pairs`].
    unsafe fn narrow(_: [Self; 2]) -> Self {
        unreachable!("pairs of bf16 need AVX512-BF16")
    }
    /// [`Lanes::call`] with instructions for bf16: [`has_pairs`].
    unsafe fn call_pairs<J: Job>(_: J) -> J::Output {
        unreachable!("pairs of bf16 need AVX512-BF16")
    }
}

/// Whether pairs of bf16 are faster than `f32`, too: about twice on AMD's processors, slower on others that have them.
#[cfg(target_arch = "x86_64")]
pub(super) fn pairs_are_fast() -> bool {
    let vendor = std::arch::x86_64::__cpuid(0);
    let vendor = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat();
    vendor == b"AuthenticAMD" && has_pairs(Level::detected())
}

/// Other architectures have none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn pairs_are_fast() -> bool {
    false
}

/// Whether this processor multiplies pairs of bf16 at this level.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_pairs(level: Level) -> bool {
    level == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
}

/// Other architectures have none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_pairs(_: Level) -> bool {
    false
}

/// A piece of work, compiled for each level. `run` must be `#[inline(always)]`.
pub(crate) trait Job {
    /// What it returns.
    type Output;
    /// # Safety
    /// The processor has the instructions of `V`; further conditions are the implementing type's.
    unsafe fn run<V: Lanes>(self) -> Self::Output;
}

impl Level {
    /// Runs a job with the vectors of this level.
    ///
    /// # Safety
    /// The conditions of the job. (That the processor has the level is an invariant of [`Level::current`].)
    pub(crate) unsafe fn run<J: Job>(self, job: J) -> J::Output {
        // SAFETY: levels above the processor's are refused by `Level::with`; the rest is the caller's contract.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => std::arch::x86_64::__m512::call(job),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => std::arch::x86_64::__m256::call(job),
                _ => Four::call(job),
            }
        }
    }

    /// [`Lanes::N`].
    pub(crate) fn lanes(self) -> usize {
        match self {
            Self::Portable => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// [`Lanes::ROWS`].
    pub(crate) fn rows(self) -> [usize; 2] {
        match self {
            Self::Portable | Self::Avx2 => [12, 6],
            Self::Avx512 => [16, 14],
        }
    }
}

/// Implements [`Lanes`]; `call` runs jobs in `function`.
macro_rules! lanes {
    ($type:ty, $n:literal, $rows:expr, $function:ident $(and $pairs:ident)?,
     $(fn $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)? $body:block)*) => {
        impl Lanes for $type {
            const N: usize = $n;
            const ROWS: [usize; 2] = $rows;

            $(
                #[inline(always)]
                unsafe fn $name($($argument: $kind),*) $(-> $result)? {
                    // SAFETY: the caller's contract.
                    #[allow(unused_unsafe)]
                    unsafe { $body }
                }
            )*
            #[inline(always)]
            unsafe fn call<J: Job>(job: J) -> J::Output {
                // SAFETY: the caller's contract.
                unsafe { $function(job) }
            }
            $(
                #[inline(always)]
                unsafe fn call_pairs<J: Job>(job: J) -> J::Output {
                    // SAFETY: the caller's contract.
                    unsafe { $pairs(job) }
                }
            )?
        }
    };
}

/// Four floats that compilers turn into a vector where there is one.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Four([f32; 4]);

macro_rules! each {
    ($($argument:ident),+ => $value:expr) => {{
        let mut out = [0.0; 4];
        for lane in 0..4 {
            $(let $argument = $argument.0[lane];)+
            out[lane] = $value;
        }
        Four(out)
    }};
}

lanes! { Four, 4, [12, 6], portable,
    fn splat(value: f32) -> Self { Self([value; 4]) }
    fn load(from: *const f32) -> Self { Self(from.cast::<[f32; 4]>().read_unaligned()) }
    fn load_some(from: *const f32, count: usize) -> Self {
        let mut out = [0.0; 4];
        out.iter_mut().take(count).enumerate().for_each(|(lane, out)| *out = *from.add(lane));
        Self(out)
    }
    fn store(self: Self, to: *mut f32) { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    fn store_some(self: Self, to: *mut f32, count: usize) {
        self.0.iter().take(count).enumerate().for_each(|(lane, value)| *to.add(lane) = *value);
    }
    fn fma(self: Self, b: Self, c: Self) -> Self {
        let a = self;
        if cfg!(target_arch = "aarch64") { each!(a, b, c => a.mul_add(b, c)) } else { each!(a, b, c => a * b + c) }
    }
    fn add(self: Self, b: Self) -> Self { let a = self; each!(a, b => a + b) }
    fn sub(self: Self, b: Self) -> Self { let a = self; each!(a, b => a - b) }
    fn mul(self: Self, b: Self) -> Self { let a = self; each!(a, b => a * b) }
    fn max(self: Self, b: Self) -> Self { let a = self; each!(a, b => if a > b { a } else { b }) }
    fn min(self: Self, b: Self) -> Self { let a = self; each!(a, b => if a < b { a } else { b }) }
    fn where_positive(self: Self, condition: Self) -> Self {
        let a = self;
        each!(a, condition => if condition > 0.0 { a } else { 0.0 })
    }
}

/// # Safety
/// The conditions of the job.
#[inline(never)]
unsafe fn portable<J: Job>(job: J) -> J::Output {
    // SAFETY: the caller's contract.
    unsafe { job.run::<Four>() }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Job, Lanes};
    use std::arch::x86_64::*;
    use std::mem::transmute;

    lanes! { __m512, 16, [16, 14], avx512 and avx512_pairs,
        fn splat(value: f32) -> Self { _mm512_set1_ps(value) }
        fn load(from: *const f32) -> Self { _mm512_loadu_ps(from) }
        fn load_some(from: *const f32, count: usize) -> Self { _mm512_maskz_loadu_ps(first(count), from) }
        fn store(self: Self, to: *mut f32) { _mm512_storeu_ps(to, self) }
        fn store_some(self: Self, to: *mut f32, count: usize) { _mm512_mask_storeu_ps(to, first(count), self) }
        fn fma(self: Self, b: Self, c: Self) -> Self { _mm512_fmadd_ps(self, b, c) }
        fn add(self: Self, b: Self) -> Self { _mm512_add_ps(self, b) }
        fn sub(self: Self, b: Self) -> Self { _mm512_sub_ps(self, b) }
        fn mul(self: Self, b: Self) -> Self { _mm512_mul_ps(self, b) }
        fn max(self: Self, b: Self) -> Self { _mm512_max_ps(self, b) }
        fn min(self: Self, b: Self) -> Self { _mm512_min_ps(self, b) }
        fn where_positive(self: Self, condition: Self) -> Self {
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition, _mm512_setzero_ps()), self)
        }
        fn pairs(self: Self, b: Self, c: Self) -> Self {
            _mm512_dpbf16_ps(c, transmute::<__m512, __m512bh>(self), transmute::<__m512, __m512bh>(b))
        }
        fn narrow(from: [Self; 2]) -> Self { transmute(_mm512_cvtne2ps_pbh(from[1], from[0])) }
    }

    /// # Safety
    /// The processor has the features; the conditions of the job.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    #[inline(never)]
    unsafe fn avx512<J: Job>(job: J) -> J::Output {
        // SAFETY: the caller's contract.
        unsafe { job.run::<__m512>() }
    }

    /// # Safety
    /// The processor has the features; the conditions of the job.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    #[inline(never)]
    unsafe fn avx512_pairs<J: Job>(job: J) -> J::Output {
        // SAFETY: the caller's contract.
        unsafe { job.run::<__m512>() }
    }

    /// The mask of the first `count` lanes.
    #[inline(always)]
    fn first(count: usize) -> __mmask16 {
        ((1u32 << count) - 1) as __mmask16
    }

    lanes! { __m256, 8, [12, 6], avx2,
        fn splat(value: f32) -> Self { _mm256_set1_ps(value) }
        fn load(from: *const f32) -> Self { _mm256_loadu_ps(from) }
        fn load_some(from: *const f32, count: usize) -> Self { _mm256_maskload_ps(from, lanes_below(count)) }
        fn store(self: Self, to: *mut f32) { _mm256_storeu_ps(to, self) }
        fn store_some(self: Self, to: *mut f32, count: usize) { _mm256_maskstore_ps(to, lanes_below(count), self) }
        fn fma(self: Self, b: Self, c: Self) -> Self { _mm256_fmadd_ps(self, b, c) }
        fn add(self: Self, b: Self) -> Self { _mm256_add_ps(self, b) }
        fn sub(self: Self, b: Self) -> Self { _mm256_sub_ps(self, b) }
        fn mul(self: Self, b: Self) -> Self { _mm256_mul_ps(self, b) }
        fn max(self: Self, b: Self) -> Self { _mm256_max_ps(self, b) }
        fn min(self: Self, b: Self) -> Self { _mm256_min_ps(self, b) }
        fn where_positive(self: Self, condition: Self) -> Self {
            _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(condition, _mm256_setzero_ps()), self)
        }
    }

    /// # Safety
    /// The processor has the features; the conditions of the job.
    #[target_feature(enable = "avx2,fma")]
    #[inline(never)]
    unsafe fn avx2<J: Job>(job: J) -> J::Output {
        // SAFETY: the caller's contract.
        unsafe { job.run::<__m256>() }
    }

    /// The mask of the first `count` lanes.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn lanes_below(count: usize) -> __m256i {
        // SAFETY: the caller's contract.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }
}
