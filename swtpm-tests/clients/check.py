"""What independent clients say of our signatures: reads a JSON list of cases, prints a JSON list of answers.

A case is {"format": "evm" | "solana", "payload": hex, "signature": hex (r||s or Ed25519), "recovery_id": 0..3 | null,
"public_key": hex}. The answer says whom the signed transaction is from, and what it does, or why it is not valid.
"""

import json
import sys

import rlp
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak
from hexbytes import HexBytes
from solders.message import from_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction


def number(value):
    return int.from_bytes(value, "big")


def evm(case):
    payload = bytes.fromhex(case["payload"])
    signature = bytes.fromhex(case["signature"])
    r, s = number(signature[:32]), number(signature[32:])
    parity = case["recovery_id"]
    if payload[0] >= 0xC0:
        fields = rlp.decode(payload)
        chain = number(fields[6])
        raw = rlp.encode(fields[:6] + [chain * 2 + 35 + parity, r, s])
        said = {"nonce": number(fields[0]), "to": fields[3].hex(), "value": str(number(fields[4])), "chain_id": chain}
    else:
        fields = rlp.decode(payload[1:])
        raw = payload[:1] + rlp.encode(fields + [parity, r, s])
        transaction = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        said = {
            "nonce": transaction["nonce"],
            "to": bytes(transaction["to"]).hex(),
            "value": str(transaction["value"]),
            "chain_id": transaction["chainId"],
        }
    return {"sender": Account.recover_transaction(raw).lower(), "hash": keccak(raw).hex(), **said}


def solana(case):
    message = from_bytes_versioned(bytes.fromhex(case["payload"]))
    signature = Signature.from_bytes(bytes.fromhex(case["signature"]))
    transaction = VersionedTransaction.populate(message, [signature])
    transaction.sanitize()
    if transaction.verify_with_results() != [True]:
        raise ValueError("the signature does not verify")
    return {"sender": str(message.account_keys[0]), "hash": str(transaction.signatures[0])}


def answer(case):
    try:
        return {"valid": True, **{"evm": evm, "solana": solana}[case["format"]](case)}
    except Exception as error:  # Whatever a client objects to is its answer.
        return {"valid": False, "error": f"{type(error).__name__}: {error}"}


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
