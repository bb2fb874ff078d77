//! The endorsement key's certificate, from the TPM's NV storage.

use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, TpmHandle};
use tss_esapi::interface_types::resource_handles::NvAuth;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::CapabilityData;

use super::error::{During, Fault};
use crate::config::tpm::EkKind;

/// Bytes of one NV read: no TPM allows fewer (`TPM_PT_NV_BUFFER_MAX` is at least 512, PC Client Platform TPM
/// Profile).
const CHUNK: u16 = 512;

/// Bytes of a certificate: real ones take 800 to 1,500, and NV is small.
const CERTIFICATE_MAX: usize = 8192;

/// Reads the certificate, DER; `None` if the TPM has none for this kind of key, as emulators often have.
pub(super) fn read(context: &mut Context, kind: EkKind) -> Result<Option<Vec<u8>>, Fault> {
    // TCG EK Credential Profile 2.x, sections 2.2.1.4 and 2.2.1.5.
    let number = match kind {
        EkKind::Rsa2048 => 0x01c0_0002,
        EkKind::P256 => 0x01c0_000a,
        EkKind::P384 => 0x01c0_0016,
    };
    let (data, _) = context
        .execute_without_session(|context| context.get_capability(CapabilityType::Handles, number, 1))
        .during("TPM2_GetCapability")?;
    let CapabilityData::Handles(handles) = data else { return Ok(None) };
    if handles.into_inner().first().is_none_or(|found| u32::from(*found) != number) {
        return Ok(None);
    }

    let handle = NvIndexTpmHandle::new(number).map(TpmHandle::from).during("TPM2_NV_ReadPublic")?;
    let mut object = context
        .execute_without_session(|context| context.tr_from_tpm_public(handle))
        .during("TPM2_NV_ReadPublic")?;
    let index = NvIndexHandle::from(object);
    let (public, _) = context
        .execute_without_session(|context| context.nv_read_public(index))
        .during("TPM2_NV_ReadPublic")?;
    let size = public.data_size().min(CERTIFICATE_MAX);
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let offset = u16::try_from(bytes.len()).expect("bounded by CERTIFICATE_MAX");
        let length = CHUNK.min(u16::try_from(size).expect("bounded by CERTIFICATE_MAX") - offset);
        let chunk = context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.nv_read(NvAuth::NvIndex(index), index, length, offset)
            })
            .during("TPM2_NV_Read")?;
        if chunk.is_empty() {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    context.tr_close(&mut object).during("closing an NV index")?;
    Ok(trim(&bytes).map(<[u8]>::to_vec))
}

/// The DER SEQUENCE at the front; vendors pad the index behind it. `None` if there is none.
fn trim(bytes: &[u8]) -> Option<&[u8]> {
    let (header, length) = match bytes {
        [0x30, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [0x30, 0x81, length, ..] => (3, usize::from(*length)),
        [0x30, length @ 0..=0x7f, ..] => (2, usize::from(*length)),
        _ => return None,
    };
    bytes.get(..header + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_behind_a_certificate_goes_and_what_is_none_is_none() {
        assert_eq!(trim(&[0x30, 2, 1, 1, 0xff, 0xff]), Some([0x30, 2, 1, 1].as_slice()));
        let mut long = vec![0x30, 0x82, 1, 0];
        long.resize(4 + 256 + 9, 7);
        assert_eq!(trim(&long).map(<[u8]>::len), Some(260));
        assert_eq!(trim(&long[..200]), None);
        assert_eq!(trim(&[0xff; 64]), None);
        assert_eq!(trim(&[0x30]), None);
        assert_eq!(trim(&[]), None);
    }
}
