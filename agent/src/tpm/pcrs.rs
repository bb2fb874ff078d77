//! PCR values and quotes over them.

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::{PcrBank, PcrIndex, PcrValues, Quote, QuoteEvidence, TpmSignature};
use tss_esapi::Context;
use tss_esapi::constants::CapabilityType;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{CapabilityData, Data, PcrSelectionList, PcrSlot, SignatureScheme};
use tss_esapi::traits::Marshall;

use super::error::{During, Fault, TpmError};
use super::keys::Keys;

/// Which PCRs of which banks.
pub type Selection = BTreeMap<PcrBank, BTreeSet<PcrIndex>>;

/// Readings before "unstable": boot extends PCRs in bursts, and between two readings lie milliseconds.
const READINGS_MAX: usize = 8;

/// Banks that a TPM may list; more than there are hash algorithms (`TPM2_NUM_PCR_BANKS`).
const BANKS_MAX: u32 = 16;

/// The active banks whose values may define a state, with every PCR in them.
pub(super) fn acceptable(context: &mut Context) -> Result<Selection, Fault> {
    let (data, _) = context
        .execute_without_session(|context| context.get_capability(CapabilityType::AssignedPcr, 0, BANKS_MAX))
        .during("TPM2_GetCapability")?;
    let CapabilityData::AssignedPcr(assigned) = data else { return Ok(Selection::new()) };
    Ok(assigned
        .get_selections()
        .iter()
        .filter_map(|selection| {
            let bank = bank_of(selection.hashing_algorithm()).filter(|bank| bank.is_acceptable())?;
            let indices: BTreeSet<_> = selection.selected().into_iter().filter_map(index_of).collect();
            (!indices.is_empty()).then_some((bank, indices))
        })
        .collect())
}

/// Reads every PCR of the selection, all at one moment: the TPM's update counter stands still meanwhile.
pub(super) fn read(context: &mut Context, selection: &Selection) -> Result<PcrValues, Fault> {
    for _ in 0..READINGS_MAX {
        if let Some(values) = read_once(context, selection)? {
            return Ok(values);
        }
    }
    Err(TpmError::PcrsUnstable { attempts: READINGS_MAX }.into())
}

/// Quotes the selection with the attestation key; values and quote agree.
pub(super) fn quote(
    context: &mut Context,
    keys: &Keys,
    selection: &Selection,
    qualifying: [u8; 32],
) -> Result<QuoteEvidence, Fault> {
    let garbled = |detail: String| TpmError::Garbled { what: "quote", detail };
    for _ in 0..READINGS_MAX {
        let pcrs = read(context, selection)?;
        let ak = keys.load(context)?;
        let signed = context.execute_with_session(Some(AuthSession::Password), |context| {
            let qualifying = Data::try_from(qualifying.as_slice())?;
            context.quote(ak, qualifying, SignatureScheme::Null, selection_list(selection)?)
        });
        context.flush_context(ak.into()).during("TPM2_FlushContext")?;
        let (attest, signature) = signed.during("TPM2_Quote")?;
        let attest = attest.marshall().during("encoding the quote")?;
        let signature = signature.marshall().during("encoding the signature")?;

        let quote = Quote::parse(&attest).map_err(|error| garbled(error.to_string()))?;
        let parsed = TpmSignature::parse(&signature).map_err(|error| garbled(error.to_string()))?;
        keys.ak.verify(&attest, &parsed).map_err(|error| garbled(error.to_string()))?;
        // Nothing is believed here, the enclave appraises; this only finds a PCR that moved after it was read.
        let digest = quote.selection().digest(parsed.scheme().hash, &pcrs);
        if digest.is_ok_and(|digest| digest == quote.pcr_digest()) {
            return Ok(QuoteEvidence { attest, signature, pcrs });
        }
    }
    Err(TpmError::PcrsUnstable { attempts: READINGS_MAX }.into())
}

/// `None` if a PCR changed between the commands that it took.
fn read_once(context: &mut Context, selection: &Selection) -> Result<Option<PcrValues>, Fault> {
    let mut values = PcrValues::default();
    let mut left = selection.clone();
    let mut counter = None;
    while let Some((&bank, &index)) = left.iter().find_map(|(bank, set)| Some((bank, set.first()?))) {
        // One command returns up to eight values.
        let wanted = selection_list(&left).during("encoding the selection")?;
        let (updates, covered, digests) =
            context.execute_without_session(|context| context.pcr_read(wanted)).during("TPM2_PCR_Read")?;
        if *counter.get_or_insert(updates) != updates {
            return Ok(None);
        }
        let covered = covered.get_selections().iter().flat_map(|selection| {
            let bank = bank_of(selection.hashing_algorithm());
            selection.selected().into_iter().filter_map(move |slot| Some((bank?, index_of(slot)?)))
        });
        let mut progress = false;
        for ((bank, index), digest) in covered.zip(digests.value()) {
            // Only what is still wanted: an answer cannot make this loop run for ever.
            if left.get_mut(&bank).is_some_and(|set| set.remove(&index)) {
                values.insert(bank, index, digest.value().to_vec()).map_err(|error| {
                    Fault::Own(TpmError::Garbled { what: "PCR value", detail: error.to_string() })
                })?;
                progress = true;
            }
        }
        if !progress {
            return Err(TpmError::NoSuchPcr { bank, index }.into());
        }
    }
    Ok(Some(values))
}

fn selection_list(selection: &Selection) -> tss_esapi::Result<PcrSelectionList> {
    let mut builder = PcrSelectionList::builder();
    for (bank, indices) in selection {
        let slots: Result<Vec<_>, _> =
            indices.iter().map(|index| PcrSlot::try_from(1u32 << index.get())).collect();
        builder = builder.with_selection(algorithm_of(*bank), &slots?);
    }
    builder.build()
}

fn algorithm_of(bank: PcrBank) -> HashingAlgorithm {
    match bank {
        PcrBank::Sha1 => HashingAlgorithm::Sha1,
        PcrBank::Sha256 => HashingAlgorithm::Sha256,
        PcrBank::Sha384 => HashingAlgorithm::Sha384,
        PcrBank::Sha512 => HashingAlgorithm::Sha512,
    }
}

fn bank_of(algorithm: HashingAlgorithm) -> Option<PcrBank> {
    PcrBank::ALL.into_iter().find(|bank| algorithm_of(*bank) == algorithm)
}

fn index_of(slot: PcrSlot) -> Option<PcrIndex> {
    u8::try_from(u32::from(slot).trailing_zeros()).ok().and_then(PcrIndex::new)
}
