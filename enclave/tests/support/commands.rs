//! What a test, or a relay on its own account, has the TPM do: no HMACs, empty passwords.

use std::collections::BTreeMap;

use sealstone_attestation::{PcrBank, PcrIndex};
use tpm2_protocol::basic::{TpmBuffer, TpmHandle, TpmUint32};
use tpm2_protocol::data::*;
use tpm2_protocol::frame::*;
use tpm2_protocol::{TpmMarshal, TpmWriter};

use super::swtpm::Swtpm;

pub fn handle(value: u32) -> TpmHandle {
    TpmHandle::new(value)
}

pub fn marshal(value: &dyn TpmMarshal) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let mut writer = TpmWriter::new(&mut buffer);
    value.marshal(&mut writer).unwrap();
    let len = writer.len();
    buffer.truncate(len);
    buffer
}

/// A password authorisation.
pub fn password(auth: &[u8]) -> TpmsAuthCommand {
    TpmsAuthCommand {
        session_handle: handle(TpmRh::Pw.value()),
        nonce: Tpm2bNonce::default(),
        session_attributes: TpmaSession::CONTINUE_SESSION,
        hmac: Tpm2bAuth::try_from(auth).unwrap(),
    }
}

/// An authorisation by a session that has no secret.
pub fn bare_session(session: u32) -> TpmsAuthCommand {
    TpmsAuthCommand { session_handle: handle(session), ..password(&[]) }
}

pub fn frame<C: TpmFrame>(command: &C, authorisations: &[TpmsAuthCommand]) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let mut writer = TpmWriter::new(&mut buffer);
    let tag = if authorisations.is_empty() { TpmSt::NoSessions } else { TpmSt::Sessions };
    tpm_marshal_command(command, tag, authorisations, &mut writer).unwrap();
    let len = writer.len();
    buffer.truncate(len);
    buffer
}

/// A response with an error code.
pub fn error(code: u32) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}

/// A success with this tag and body.
pub fn response(tag: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &[0; 4], body].concat()
}

pub fn code_of(command: &[u8]) -> u32 {
    u32::from_be_bytes(command[6..10].try_into().unwrap())
}

pub fn is(command: &[u8], code: TpmCc) -> bool {
    code_of(command) == code.value()
}

/// A selection of PCRs of one bank.
pub fn selection(bank: PcrBank, pcrs: &[u8]) -> TpmlPcrSelection {
    let mut bitmap = [0u8; 3];
    pcrs.iter().for_each(|pcr| bitmap[usize::from(pcr / 8)] |= 1 << (pcr % 8));
    let mut list = TpmlPcrSelection::new();
    let hash = TpmAlgId::try_from(bank.algorithm_id()).unwrap();
    list.try_push(TpmsPcrSelection { hash, pcr_select: TpmsPcrSelect::try_from(&bitmap[..]).unwrap() })
        .unwrap();
    list
}

impl Swtpm {
    /// Executes a command; the error is the TPM's response code.
    pub fn run<C: TpmFrame, R: TpmUnmarshalBody>(
        &self,
        command: &C,
        authorisations: &[TpmsAuthCommand],
    ) -> Result<R, u32> {
        let bytes = self.execute(&frame(command, authorisations));
        let response = TpmResponse::cast(&bytes).unwrap();
        match response.rc().unwrap().value() {
            0 => Ok(response.unmarshal::<R>().unwrap()),
            code => Err(code),
        }
    }

    pub fn extend_pcr(&self, pcr: u32) {
        let digest = TpmuHa::Digest(TpmBuffer::try_from(&[9; 32][..]).unwrap());
        let mut digests = TpmlDigestValues::new();
        digests.try_push(TpmtHa { hash_alg: TpmAlgId::Sha256, digest }).unwrap();
        let command = TpmPcrExtendCommand { handles: [handle(pcr)], digests };
        self.run::<_, TpmPcrExtendResponse>(&command, &[password(&[])]).unwrap();
    }

    pub fn pcr(&self, bank: PcrBank, pcr: u8) -> Vec<u8> {
        let pcr_selection_in = selection(bank, &[pcr]);
        let command = TpmPcrReadCommand { handles: [], pcr_selection_in };
        let response: TpmPcrReadResponse = self.run(&command, &[]).unwrap();
        response.pcr_values[0].to_vec()
    }

    /// The current values of these PCRs.
    pub fn pcrs(&self, bank: PcrBank, pcrs: &[u8]) -> BTreeMap<PcrIndex, Vec<u8>> {
        pcrs.iter().map(|pcr| (PcrIndex::new(*pcr).unwrap(), self.pcr(bank, *pcr))).collect()
    }

    pub fn flush(&self, flush_handle: u32) {
        let command = TpmFlushContextCommand { handles: [], flush_handle: handle(flush_handle) };
        self.run::<_, TpmFlushContextResponse>(&command, &[]).unwrap();
    }

    /// Gives up all PCR banks but one, from now on, as firmware can.
    pub fn keep_only(&self, kept: PcrBank) {
        let mut pcr_allocation = TpmlPcrSelection::new();
        for bank in PcrBank::ALL {
            let hash = TpmAlgId::try_from(bank.algorithm_id()).unwrap();
            let bits = if bank == kept { [0xff; 3] } else { [0; 3] };
            let pcr_select = TpmsPcrSelect::try_from(&bits[..]).unwrap();
            pcr_allocation.try_push(TpmsPcrSelection { hash, pcr_select }).unwrap();
        }
        let command = TpmPcrAllocateCommand { handles: [handle(TpmRh::Platform.value())], pcr_allocation };
        self.run::<_, TpmPcrAllocateResponse>(&command, &[password(&[])]).unwrap();
        self.restart();
    }

    pub fn flush_all_objects(&self) {
        self.handles_from(0x8000_0000).into_iter().for_each(|object| self.flush(object));
    }

    /// Frees what a ceremony that was lied to could not: the next one shall fail for its own reason only.
    pub fn flush_everything(&self) {
        self.flush_all_objects();
        let sessions = [0x0200_0000, 0x0300_0000].into_iter().flat_map(|kind| self.handles_from(kind));
        sessions.for_each(|session| self.flush(session));
    }

    /// The handles that the TPM holds from this one on, of its kind.
    pub fn handles_from(&self, first: u32) -> Vec<u32> {
        let command = TpmGetCapabilityCommand {
            handles: [],
            cap: TpmCap::Handles,
            property: TpmUint32::new(first),
            property_count: TpmUint32::new(64),
        };
        let response: TpmGetCapabilityResponse = self.run(&command, &[]).unwrap();
        let TpmuCapabilities::Handles(handles) = response.capability_data.data else {
            panic!("no list of handles")
        };
        handles.iter().map(|handle| handle.value()).collect()
    }

    pub fn create_primary(&self, hierarchy: TpmRh, template: TpmtPublic) -> (u32, TpmtPublic) {
        let command = TpmCreatePrimaryCommand {
            handles: [handle(hierarchy.value())],
            in_public: Tpm2bPublic { inner: template },
            ..Default::default()
        };
        let response: TpmCreatePrimaryResponse = self.run(&command, &[password(&[])]).unwrap();
        (response.handles[0].value(), response.out_public.inner)
    }

    /// Removes an NV index, as everybody can who has the owner's (empty) auth.
    pub fn undefine(&self, index: u32) {
        let command = TpmNvUndefineSpaceCommand { handles: [handle(TpmRh::Owner.value()), handle(index)] };
        self.run::<_, TpmNvUndefineSpaceResponse>(&command, &[password(&[])]).unwrap();
    }

    /// An unsalted session without any secret.
    pub fn start_session(&self, session_type: TpmSe) -> u32 {
        let command = TpmStartAuthSessionCommand {
            handles: [handle(TpmRh::Null.value()); 2],
            nonce_caller: Tpm2bNonce::try_from(&[7; 32][..]).unwrap(),
            encrypted_salt: Tpm2bEncryptedSecret::default(),
            session_type,
            symmetric: TpmtSymDefObject { algorithm: TpmAlgId::Null, ..Default::default() },
            auth_hash: TpmAlgId::Sha256,
        };
        let response: TpmStartAuthSessionResponse = self.run(&command, &[]).unwrap();
        response.handles[0].value()
    }
}
