//! One source, one compilation for each instruction set: the compiler vectorises the same loop for each.

/// Declares a function that takes the instruction set first and runs the body compiled for it. Generic parameters go in
/// square brackets after the name. The body must be plain loops over slices; closures given to it are compiled along.
macro_rules! per_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$($generics:tt)*] ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "flat arguments keep the body free of captured state")]
        $vis fn $name<$($generics)*>(isa: $crate::device::cpu::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as the caller")]
            fn body<$($generics)*>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "as the caller")]
                fn avx512<$($generics)*>($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "as the caller")]
                fn avx2<$($generics)*>($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                match isa {
                    // SAFETY: `Cpu` hands out only instruction sets that `Isa::detect` found.
                    $crate::device::cpu::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::device::cpu::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::device::cpu::Isa::Portable => {}
                }
            }
            let _ = isa;
            body($($arg),*)
        }
    };
}

pub(crate) use per_isa;
