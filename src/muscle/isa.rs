//! Compiles one loop for every instruction set.

/// Defines `fn name(isa: Isa, arguments)` that runs an `#[inline(always)]` body compiled for that instruction set. The body
/// holds plain Rust that the compiler vectorises; Rust never contracts it, so all give the same bits.
macro_rules! for_each_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$meta])*
        $vis fn $name(isa: crate::device::cpu::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                match isa.min(crate::device::cpu::Isa::detect()) {
                    // SAFETY: `detect` has found these features on this processor.
                    crate::device::cpu::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    crate::device::cpu::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    crate::device::cpu::Isa::Portable => {}
                }
            }
            let _ = isa;
            $body($($arg),*)
        }
    };
}

pub(super) use for_each_isa;
