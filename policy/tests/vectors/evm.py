"""Ethereum: payloads whose signatures eth-account makes, and whose sender it finds again."""

import rlp
from eth_abi import encode as abi
from eth_account import Account
from eth_account._utils.legacy_transactions import serializable_unsigned_transaction_from_dict
from eth_account.typed_transactions import TypedTransaction
from eth_utils import keccak

from common import movement, ranges, refusal

KEY = "0x" + "46" * 32  # EIP-155's example
SENDER = Account.from_key(KEY).address.lower()
FRIEND = "0x" + "35" * 20
OTHER = "0x" + "ab" * 19 + "01"
USDC = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"
SELECTORS = {
    name: keccak(text=f"{name}({types})")[:4]
    for name, types in {
        "transfer": "address,uint256",
        "approve": "address,uint256",
        "transferFrom": "address,address,uint256",
        "increaseAllowance": "address,uint256",
        "mint": "address,uint256",
    }.items()
}
GWEI = 10**9
ETHER = 10**18
UINT256_MAX = 2**256 - 1


def call(name, *arguments):
    types = ["address" if isinstance(argument, str) else "uint256" for argument in arguments]
    return SELECTORS[name] + abi(types, arguments)


def minimal(number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def octets(text):
    return bytes.fromhex(text[2:]) if text else b""


def access(transaction):
    return [[octets(item["address"]), [octets(key) for key in item["storageKeys"]]]
            for item in transaction.get("accessList", [])]


def fields(transaction):
    """The values that are hashed for signing, as the EIPs list them."""
    middle = [transaction["gas"], octets(transaction["to"]), transaction["value"], transaction["data"]]
    chain, nonce = transaction["chainId"], transaction["nonce"]
    if "type" not in transaction:
        values = [nonce, transaction["gasPrice"], *middle, chain, 0, 0]
    elif transaction["type"] == 1:
        values = [chain, nonce, transaction["gasPrice"], *middle, access(transaction)]
    else:
        fees = [transaction["maxPriorityFeePerGas"], transaction["maxFeePerGas"]]
        values = [chain, nonce, *fees, *middle, access(transaction)]
    return [minimal(value) if isinstance(value, int) else value for value in values]


def prefix(transaction):
    return bytes([transaction["type"]]) if "type" in transaction else b""


def payload_of(transaction):
    """The payload, which eth-account must hash to the same, sign, and find the sender of."""
    payload = prefix(transaction) + rlp.encode(fields(transaction))
    plain = {**transaction, "to": octets(transaction["to"])}
    if "type" in transaction:
        expected = TypedTransaction.from_dict(plain).hash()
    else:
        expected = serializable_unsigned_transaction_from_dict(plain).hash()
    assert keccak(payload) == bytes(expected), "eth-account hashes something else"
    signed = Account.sign_transaction(plain, KEY)
    assert Account.recover_transaction(signed.raw_transaction).lower() == SENDER
    return payload, bytes(signed.raw_transaction)


def legacy(**changes):
    return {"nonce": 9, "gasPrice": 20 * GWEI, "gas": 21000, "to": FRIEND, "value": ETHER, "data": b"",
            "chainId": 1, **changes}


def listed(**changes):
    return {**legacy(), "type": 1, "accessList": [], **changes}


def market(**changes):
    transaction = {**legacy(), "type": 2, "chainId": 1, "maxPriorityFeePerGas": 1_500_000_007,
                   "maxFeePerGas": 30 * GWEI, "gas": 65_000, "accessList": [], **changes}
    del transaction["gasPrice"]
    return transaction


def token_call(data, **changes):
    return market(to=USDC, value=0, data=data, nonce=42, **changes)


ACCESS_LIST = [
    {"address": USDC, "storageKeys": ["0x" + "c1" * 32, "0x" + "c2" * 32]},
    {"address": "0x" + "c3" * 20, "storageKeys": []},
]
ACCESS_FREE = [octets(USDC) + b"\xf8\x42\xa0" + b"\xc1" * 32 + b"\xa0" + b"\xc2" * 32, b"\xc3" * 20]


def case(name, transaction, movements, unknown=(), free=()):
    payload, _ = payload_of(transaction)
    chain = transaction["chainId"]
    price = transaction.get("maxFeePerGas", transaction.get("gasPrice"))
    return {
        "name": name,
        "payload": payload.hex(),
        "signing_hash": keccak(payload).hex(),
        "sender": SENDER,
        "recipients": [],
        "facts": {
            "format": "evm",
            "chain_id": chain,
            "nonce": transaction["nonce"],
            "movements": movements,
            "fee": {"currency": f"evm:{chain}:native", "amount": str(transaction["gas"] * price)},
            "unknown": list(unknown),
        },
        "free": ranges(payload, list(free) + ([minimal(1_500_000_007)] if "maxFeePerGas" in transaction else [])),
    }


def ether(amount, recipient=FRIEND, chain=1):
    return movement(f"evm:{chain}:native", amount, recipient)


def usdc(amount, recipient, kind="transfer"):
    return movement(f"evm:1:{USDC}", amount, recipient, kind)


def created(nonce):
    return "0x" + keccak(rlp.encode([octets(SENDER), nonce]))[12:].hex()


def cases():
    eip155 = case("the example of EIP-155", legacy(), [ether(ETHER)])
    assert eip155["signing_hash"] == "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53"
    mint = call("mint", FRIEND, 0x7A7B7C)
    dirty = SELECTORS["transfer"] + b"\x01" + abi(["address", "uint256"], [FRIEND, 5])[1:]
    called = f"a call of {USDC} by selector 0x"
    init_code = bytes.fromhex("600a600c600039600a6000f3602a60005260206000f3")
    return [
        eip155,
        case("a legacy transfer on a chain of many digits", legacy(chainId=2**63 + 5, nonce=0),
             [ether(ETHER, chain=2**63 + 5)]),
        case("a transfer of nothing", legacy(value=0), [ether(0)]),
        case("a transfer of the largest value, at the largest price",
             legacy(value=UINT256_MAX, gasPrice=UINT256_MAX, gas=2**64 - 1, nonce=2**64 - 2), [ether(UINT256_MAX)]),
        case("a transfer with an empty access list", listed(), [ether(ETHER)]),
        case("a transfer with an access list", listed(accessList=ACCESS_LIST, chainId=10, gas=40_000),
             [ether(ETHER, chain=10)], free=ACCESS_FREE),
        case("a transfer at a market's price", market(), [ether(ETHER)]),
        case("a market's price and an access list", market(accessList=ACCESS_LIST), [ether(ETHER)], free=ACCESS_FREE),
        case("a transfer of USDC", token_call(call("transfer", FRIEND, 1_250_000_000)), [usdc(1_250_000_000, FRIEND)]),
        case("a transfer of USDC with ether along", {**token_call(call("transfer", FRIEND, 5)), "value": 77},
             [ether(77, USDC), usdc(5, FRIEND)]),
        case("a legacy transfer of all there can be", legacy(to=USDC, value=0, data=call("transfer", FRIEND, UINT256_MAX)),
             [usdc(UINT256_MAX, FRIEND)]),
        case("an approval of everything", token_call(call("approve", OTHER, UINT256_MAX)),
             [usdc(UINT256_MAX, OTHER, "allowance")]),
        case("an approval of nothing, which revokes", token_call(call("approve", OTHER, 0)),
             [usdc(0, OTHER, "allowance")]),
        case("a transferFrom of the sender's own", token_call(call("transferFrom", SENDER, FRIEND, 3)),
             [usdc(3, FRIEND)]),
        case("a transferFrom of another's", token_call(call("transferFrom", OTHER, FRIEND, 3)), [usdc(3, FRIEND)],
             [f"a transferFrom of {USDC} that spends the tokens of {OTHER}, not the sender's"]),
        case("a call that nobody knows", token_call(mint), [], [called + mint[:4].hex()], free=[mint[4:]]),
        case("a call with ether that nobody knows", {**token_call(mint), "value": ETHER}, [ether(ETHER, USDC)],
             [called + mint[:4].hex()], free=[mint[4:]]),
        case("an allowance raised by a call beside the standard", token_call(call("increaseAllowance", OTHER, 9)), [],
             [called + SELECTORS["increaseAllowance"].hex()], free=[call("increaseAllowance", OTHER, 9)[4:]]),
        case("a transfer with something before the address", token_call(dirty), [], [called + "a9059cbb"],
             free=[dirty[4:]]),
        case("a transfer with bytes after it", token_call(call("transfer", FRIEND, 5) + b"\x0d\x0e"), [],
             [called + "a9059cbb"], free=[call("transfer", FRIEND, 5)[4:] + b"\x0d\x0e"]),
        case("a transfer that is cut short", token_call(call("transfer", FRIEND, 2**255 + 5)[:-1]), [],
             [called + "a9059cbb"], free=[call("transfer", FRIEND, 2**255 + 5)[4:-1]]),
        case("a call too short for a selector", token_call(b"\xa9\x05\x9c"), [],
             [f"a call of {USDC} without a selector"], free=[b"\xa9\x05\x9c"]),
        case("a contract", market(to=None, value=0, data=init_code, nonce=7), [],
             [f"the creation of the contract {created(7)}"], free=[init_code]),
        case("a contract with ether", market(to=None, value=ETHER, data=init_code, nonce=0), [ether(ETHER, created(0))],
             [f"the creation of the contract {created(0)}"], free=[init_code]),
    ]


def raw_list(items):
    """A list of items that are written already."""
    content = b"".join(items)
    if len(content) < 56:
        return bytes([0xC0 + len(content)]) + content
    length = minimal(len(content))
    return bytes([0xF7 + len(length)]) + length + content


def refused():
    def bad(name, payload, kind, says):
        return refusal(name, payload, kind, says, SENDER)

    plain, plain_signed = payload_of(legacy())
    priced, priced_signed = payload_of(market())
    with_list, with_list_signed = payload_of(listed(accessList=ACCESS_LIST))
    no_chain = rlp.encode(fields(legacy())[:6])
    blob = b"\x03" + rlp.encode(fields(market()) + [b"\x01", [b"\x01" * 32]])
    delegation = b"\x04" + rlp.encode(fields(market()) + [[]])

    def respelled(index, written, of=legacy(), numbers=None):
        items = [rlp.encode(value) for value in (numbers or fields(of))]
        items[index] = written
        return prefix(of) + raw_list(items)

    assert respelled(0, rlp.encode(b"\x09")) == plain, "the list is put together as RLP does"
    long_header = b"\xf8" + plain[:1][0].to_bytes(1, "big") + plain[1:]
    return [
        bad("no bytes", b"", "malformed", "no bytes"),
        bad("legacy without a chain id", no_chain, "unsupported", "without a chain id"),
        bad("legacy, signed", plain_signed, "unsupported", "signed already"),
        bad("EIP-1559, signed", priced_signed, "unsupported", "signed already"),
        bad("EIP-2930, signed", with_list_signed, "unsupported", "signed already"),
        bad("a transaction with blobs", blob, "unsupported", "blobs"),
        bad("a transaction that delegates accounts", delegation, "unsupported", "delegates accounts"),
        bad("type 0x05", b"\x05" + priced[1:], "unsupported", "type 0x05"),
        bad("type 0x00", b"\x00" + plain, "unsupported", "type 0x00"),
        bad("the largest type", b"\x7f" + priced[1:], "unsupported", "type 0x7f"),
        bad("a string", rlp.encode(plain), "malformed", "neither a type nor a list"),
        bad("a message for people", b"\x19Ethereum Signed Message:\n5hello", "unsupported", "type 0x19"),
        bad("typed data", b"\x19\x01" + b"\x22" * 64, "unsupported", "type 0x19"),
        bad("a digest", keccak(plain), "malformed", "after its end"),
        bad("a byte after legacy", plain + b"\x00", "malformed", "after its end"),
        bad("a byte after EIP-1559", priced + b"\x00", "malformed", "after its end"),
        bad("a second transaction", priced + priced, "malformed", "after its end"),
        bad("legacy without its last byte", plain[:-1], "malformed", "fault"),
        bad("EIP-1559 without its last byte", priced[:-1], "malformed", "fault"),
        bad("only a type", b"\x02", "malformed", "fault"),
        bad("a list that promises more than there is", b"\xfb\xff\xff\xff\xff" + plain[1:], "malformed", "fault"),
        bad("a short list with a long header", long_header, "malformed", "fault"),
        bad("legacy with seven values", rlp.encode(fields(legacy())[:7]), "malformed", "fault"),
        bad("legacy with ten values", rlp.encode(fields(legacy()) + [b""]), "malformed", "fault"),
        bad("EIP-1559 with eight values", b"\x02" + rlp.encode(fields(market())[:8]), "malformed", "fault"),
        bad("EIP-1559 with ten values", b"\x02" + rlp.encode(fields(market()) + [b""]), "malformed", "fault"),
        bad("EIP-1559 with fourteen values", b"\x02" + rlp.encode(fields(market()) + [b""] * 5), "malformed", "fault"),
        bad("EIP-1559's values as EIP-2930", b"\x01" + priced[1:], "malformed", "fault"),
        bad("EIP-2930's values as EIP-1559", b"\x02" + with_list[1:], "malformed", "fault"),
        bad("a nonce with a leading zero", respelled(0, b"\x82\x00\x09"), "malformed", "fault"),
        bad("a nonce of one byte with a header", respelled(0, b"\x81\x09"), "malformed", "fault"),
        bad("a nonce of zero as a byte", respelled(0, b"\x00"), "malformed", "fault"),
        bad("a value with a leading zero", respelled(4, b"\x89\x00" + minimal(ETHER)), "malformed", "fault"),
        bad("an empty list for the input", respelled(5, b"\xc0"), "malformed", "fault"),
        bad("a short string with a long header", respelled(3, b"\xb8\x14" + octets(FRIEND)), "malformed", "fault"),
        bad("a recipient of 19 bytes", respelled(3, rlp.encode(octets(FRIEND)[:19])), "malformed", "fault"),
        bad("a recipient of 21 bytes", respelled(3, rlp.encode(octets(FRIEND) + b"\x35")), "malformed", "fault"),
        bad("a recipient of 32 bytes", respelled(3, rlp.encode(bytes(12) + octets(FRIEND))), "malformed", "fault"),
        bad("an empty list for the recipient", respelled(3, b"\xc0"), "malformed", "fault"),
        bad("a value above 256 bits", respelled(4, rlp.encode(b"\x01" + bytes(32))), "malformed", "fault"),
        bad("a gas limit above 64 bits", respelled(2, rlp.encode(minimal(2**64))), "malformed", "fault"),
        bad("a chain id above 64 bits", respelled(6, rlp.encode(minimal(2**64))), "malformed", "fault"),
        bad("the last nonce that 64 bits hold", respelled(0, rlp.encode(minimal(2**64 - 1))), "malformed", "EIP-2681"),
        bad("legacy on the chain 0", respelled(6, b"\x80"), "malformed", "chain id 0"),
        bad("EIP-1559 on the chain 0", respelled(0, b"\x80", market()), "malformed", "chain id 0"),
        bad("a signature of which one half is zero", respelled(7, b"\x01"), "unsupported", "signed already"),
        bad("a priority fee above the fee", b"\x02" + rlp.encode(
            [minimal(1), minimal(9), minimal(2), minimal(1), *fields(market())[4:]]), "malformed", "priority fee"),
        bad("an access list of numbers", respelled(8, b"\xc1\x01", market()), "malformed", "fault"),
        bad("a storage key of 31 bytes", respelled(
            8, rlp.encode([[octets(USDC), [b"\xc1" * 31]]]), market()), "malformed", "fault"),
        bad("an access list entry of three values", respelled(
            8, rlp.encode([[octets(USDC), [], b""]]), market()), "malformed", "fault"),
        bad("a string for the access list", respelled(8, b"\x80", market()), "malformed", "fault"),
    ]


def vectors():
    return {"made_with": "eth-account 0.14.0, eth-abi 6.0.0, rlp 5.0.0", "cases": cases(), "refused": refused()}
