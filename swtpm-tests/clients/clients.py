"""Independent clients of the stories: they make transactions, and say what they think of the signed ones.

`clients.py address` reads a JSON list of {"format", "public_key": hex} and prints the address of each.

`clients.py build` reads a JSON list of transactions and prints their payloads (hex). A transaction is
{"format": "evm", ...the fields of eth-account} or {"format": "solana", "version": "legacy" | 0, "payer": base58,
"to": base58, "lamports": n}, for a token {..., "mint": base58, "amount": n, "decimals": n} instead of lamports.

`clients.py check` reads a JSON list of {"format", "payload": hex, "signature": hex, "recovery_id"} and prints whom each
signed transaction is from and what it does, or why it is not valid.
"""

import json
import sys

import rlp
from cytoolz import dissoc
from eth_account import Account
from eth_account._utils.legacy_transactions import serializable_unsigned_transaction_from_dict
from eth_account._utils.transaction_utils import transaction_rpc_to_rlp_structure
from eth_account.typed_transactions import TypedTransaction
from eth_keys.datatypes import PublicKey
from eth_utils import keccak, to_checksum_address
from hexbytes import HexBytes
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import Message, MessageV0, from_bytes_versioned, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.token import ID as TOKEN_PROGRAM
from solders.token.associated import get_associated_token_address
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


def build_evm(case):
    fields = {key: value for key, value in case.items() if key != "format"}
    # eth-account takes no address in lower case.
    if "to" in fields:
        fields["to"] = to_checksum_address(fields["to"])
    for touched in fields.get("accessList", []):
        touched["address"] = to_checksum_address(touched["address"])
    unsigned = serializable_unsigned_transaction_from_dict(fields)
    if isinstance(unsigned, TypedTransaction):
        # What eth-account hashes before it signs.
        inner = unsigned.transaction
        values = transaction_rpc_to_rlp_structure(dissoc(inner.dictionary, "v", "r", "s"))
        return bytes([inner.transaction_type]) + rlp.encode(inner._unsigned_transaction_serializer.from_dict(values))
    return rlp.encode(unsigned)


def build_solana(case):
    payer, to = Pubkey.from_string(case["payer"]), Pubkey.from_string(case["to"])
    if "mint" in case:
        mint = Pubkey.from_string(case["mint"])
        source = get_associated_token_address(payer, mint)
        destination = get_associated_token_address(to, mint)
        # TransferChecked of the SPL Token program.
        data = bytes([12]) + case["amount"].to_bytes(8, "little") + bytes([case["decimals"]])
        accounts = [
            AccountMeta(source, False, True),
            AccountMeta(mint, False, False),
            AccountMeta(destination, False, True),
            AccountMeta(payer, True, False),
        ]
        instruction = Instruction(TOKEN_PROGRAM, data, accounts)
    else:
        instruction = transfer(TransferParams(from_pubkey=payer, to_pubkey=to, lamports=case["lamports"]))
    blockhash = Hash(bytes(range(32)))
    if case["version"] == "legacy":
        return to_bytes_versioned(Message.new_with_blockhash([instruction], payer, blockhash))
    return to_bytes_versioned(MessageV0.try_compile(payer, [instruction], [], blockhash))


def build(case):
    return {"evm": build_evm, "solana": build_solana}[case["format"]](case).hex()


def check(case):
    try:
        return {"valid": True, **{"evm": evm, "solana": solana}[case["format"]](case)}
    except Exception as error:  # Whatever a client objects to is its answer.
        return {"valid": False, "error": f"{type(error).__name__}: {error}"}


def address(case):
    public_key = bytes.fromhex(case["public_key"])
    if case["format"] == "evm":
        return PublicKey.from_compressed_bytes(public_key).to_address()
    return str(Pubkey.from_bytes(public_key))


verb = {"address": address, "build": build, "check": check}[sys.argv[1]]
json.dump([verb(case) for case in json.load(sys.stdin)], sys.stdout)
