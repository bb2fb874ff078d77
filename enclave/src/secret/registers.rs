//! Wiping the processor's registers, where an operation's last secrets would otherwise stay until something else
//! needs the room.
#![allow(unsafe_code, reason = "names registers; every block says why it is sound")]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("wiping registers is written for x86-64; another processor needs its own list");

/// Instructions that change the first sixteen vector registers and nothing else.
macro_rules! lower_vectors {
    ($($instruction:literal),+) => {
        std::arch::asm!(
            $($instruction,)+
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nostack, nomem, preserves_flags),
        )
    };
}

/// Zeroes every register that the calling convention lets a function leave behind: the general ones that a caller
/// does not expect back, and all vector registers. The others hold the caller's own values again.
#[inline(never)]
pub(super) fn wipe() {
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512, as was just asked, and the system saves its registers. Only the named
        // registers change.
        unsafe { wipe_upper_vectors() };
    }
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the processor has AVX; `vzeroall` zeroes the first sixteen vector registers at their full width,
        // all of which are declared as changed.
        unsafe { lower_vectors!("vzeroall") };
    } else {
        // SAFETY: every x86-64 has these sixteen registers; all of them are declared as changed.
        unsafe {
            lower_vectors!(
                "pxor xmm0, xmm0",
                "pxor xmm1, xmm1",
                "pxor xmm2, xmm2",
                "pxor xmm3, xmm3",
                "pxor xmm4, xmm4",
                "pxor xmm5, xmm5",
                "pxor xmm6, xmm6",
                "pxor xmm7, xmm7",
                "pxor xmm8, xmm8",
                "pxor xmm9, xmm9",
                "pxor xmm10, xmm10",
                "pxor xmm11, xmm11",
                "pxor xmm12, xmm12",
                "pxor xmm13, xmm13",
                "pxor xmm14, xmm14",
                "pxor xmm15, xmm15"
            );
        }
    }
    // SAFETY: the registers that System V lets a function change, all declared as changed.
    unsafe {
        std::arch::asm!(
            "xor eax, eax", "xor ecx, ecx", "xor edx, edx", "xor esi, esi", "xor edi, edi",
            "xor r8d, r8d", "xor r9d, r9d", "xor r10d, r10d", "xor r11d, r11d",
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            options(nostack, nomem),
        );
    }
}

/// Zeroes the sixteen upper vector registers and the mask registers, which `vzeroall` leaves as they are.
#[target_feature(enable = "avx512f")]
fn wipe_upper_vectors() {
    // SAFETY: the caller made sure of AVX-512; only the named registers change.
    unsafe {
        std::arch::asm!(
            "vpxord zmm16, zmm16, zmm16", "vpxord zmm17, zmm17, zmm17",
            "vpxord zmm18, zmm18, zmm18", "vpxord zmm19, zmm19, zmm19",
            "vpxord zmm20, zmm20, zmm20", "vpxord zmm21, zmm21, zmm21",
            "vpxord zmm22, zmm22, zmm22", "vpxord zmm23, zmm23, zmm23",
            "vpxord zmm24, zmm24, zmm24", "vpxord zmm25, zmm25, zmm25",
            "vpxord zmm26, zmm26, zmm26", "vpxord zmm27, zmm27, zmm27",
            "vpxord zmm28, zmm28, zmm28", "vpxord zmm29, zmm29, zmm29",
            "vpxord zmm30, zmm30, zmm30", "vpxord zmm31, zmm31, zmm31",
            "kxorw k0, k0, k0", "kxorw k1, k1, k1", "kxorw k2, k2, k2", "kxorw k3, k3, k3",
            "kxorw k4, k4, k4", "kxorw k5, k5, k5", "kxorw k6, k6, k6", "kxorw k7, k7, k7",
            out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
            out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
            out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
            out("k0") _, out("k1") _, out("k2") _, out("k3") _,
            out("k4") _, out("k5") _, out("k6") _, out("k7") _,
            options(nostack, nomem, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_vector_register_keeps_what_was_in_it() {
        let planted = [0xa5u8; 16];
        let mut found = [[1u8; 16]; 2];
        // SAFETY: loads and stores 16 bytes of the arrays; `wipe` is called as a function of the same convention.
        unsafe {
            std::arch::asm!(
                "movups xmm7, [r12]",
                "movups xmm15, [r12]",
                "call {wipe}",
                "movups [r13], xmm7",
                "movups [r13 + 16], xmm15",
                // Registers that a function gives back as they were.
                in("r12") &raw const planted,
                in("r13") &raw mut found,
                wipe = sym plain_wipe,
                clobber_abi("C"),
            );
        }
        assert_eq!(found, [[0; 16]; 2]);
    }

    extern "C" fn plain_wipe() {
        wipe();
    }
}
