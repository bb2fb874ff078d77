"""Solana: messages that solders compiles and signs, of instructions by solders and by solana-py."""

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.compute_budget import (request_heap_frame, set_compute_unit_limit, set_compute_unit_price,
                                    set_loaded_accounts_data_size_limit)
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0, from_bytes_versioned, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
import solders.system_program as system
import spl.token.instructions as token
from spl.token.instructions import models

from common import movement, ranges, refusal

SENDER = Keypair.from_seed(b"\x01" * 32)
OTHER = Keypair.from_seed(b"\x02" * 32)
KEYS = {str(pair.pubkey()): pair for pair in (SENDER, OTHER)}
FRIEND = Keypair.from_seed(b"\x03" * 32).pubkey()
STRANGER = Keypair.from_seed(b"\x04" * 32).pubkey()
SOURCE = Pubkey(b"\x51" * 32)
ACCOUNT = Pubkey(b"\x52" * 32)
NONCE = Pubkey(b"\x53" * 32)
PROGRAM = Pubkey(b"\x54" * 32)
TABLE = Pubkey(b"\x55" * 32)
USDC = Pubkey.from_string("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v")
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMO_1 = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
SPL, SPL_2022, MAKER = token.TOKEN_PROGRAM_ID, token.TOKEN_2022_PROGRAM_ID, token.ASSOCIATED_TOKEN_PROGRAM_ID
BLOCKHASH = b"\x0b" * 32
SIGNATURE, RENT = 5_000, 2_039_280


def me():
    return SENDER.pubkey()


def transfer(lamports, to=FRIEND, from_=None):
    return system.transfer({"from_pubkey": from_ or me(), "to_pubkey": to, "lamports": lamports})


def associated(owner, program=SPL, mint=USDC):
    return token.get_associated_token_address(owner, mint, program)


def checked(amount, to, owner=None, program=SPL, mint=USDC, signers=()):
    return token.transfer_checked(models.TransferCheckedParams(
        program_id=program, source=SOURCE, mint=mint, dest=to, owner=owner or me(), amount=amount, decimals=6,
        signers=list(signers)))


def approve(amount, delegate, owner=None, program=SPL):
    return token.approve_checked(models.ApproveCheckedParams(
        program_id=program, source=SOURCE, mint=USDC, delegate=delegate, owner=owner or me(), amount=amount,
        decimals=6, signers=[]))


def make_account(owner, payer=None, program=SPL, idempotent=True):
    make = token.create_idempotent_associated_token_account if idempotent else token.create_associated_token_account
    return make(payer=payer or me(), owner=owner, mint=USDC, token_program_id=program)


def memo(text, program=MEMO, signer=None):
    return Instruction(program, text, [AccountMeta(signer, True, False)] if signer else [])


def with_(instruction, data=None, accounts=None):
    return Instruction(instruction.program_id, instruction.data if data is None else data,
                       instruction.accounts if accounts is None else accounts)


def signed(message):
    """The message's bytes, which solders must sign and check as a transaction of it."""
    count = message.header.num_required_signatures
    transaction = VersionedTransaction(message, [KEYS[str(key)] for key in message.account_keys[:count]])
    transaction.sanitize()
    assert all(transaction.verify_with_results())
    payload = to_bytes_versioned(message)
    assert bytes(transaction) == bytes([count]) + b"".join(map(bytes, transaction.signatures)) + payload
    return payload


def legacy(instructions, payer=None):
    return signed(Message.new_with_blockhash(instructions, payer or me(), Hash(BLOCKHASH)))


def version_0(instructions, payer=None, tables=()):
    return signed(MessageV0.try_compile(payer or me(), instructions, list(tables), Hash(BLOCKHASH)))


def table(*addresses):
    return AddressLookupTableAccount(TABLE, list(addresses))


def case(name, payload, movements=(), unknown=(), fee=SIGNATURE, recipients=(), free=()):
    # Whether an account is written to is no fact. What an unknown instruction does is none either.
    start = 1 + (payload[0] >> 7)
    free = None if unknown else [[start, start + 2]] + ranges(payload, [BLOCKHASH, *free])
    return {
        "name": name,
        "payload": payload.hex(),
        "sender": str(me()),
        "recipients": [str(recipient) for recipient in recipients],
        "facts": {
            "format": "solana",
            "chain_id": None,
            "nonce": None,
            "movements": list(movements),
            "fee": {"currency": "solana:native", "amount": str(fee)},
            "unknown": list(unknown),
        },
        "free": free,
    }


def sol(lamports, to=FRIEND):
    return movement("solana:native", lamports, str(to))


def usdc(amount, to, kind="transfer", proven=True):
    return movement(f"solana:{USDC}", amount, str(to), kind, proven)


def written(payload, number):
    """Where an instruction's accounts and data are."""
    compiled = from_bytes_versioned(payload).instructions[number]
    accounts, data = bytes(compiled.accounts), bytes(compiled.data)
    part = bytes([compiled.program_id_index, len(accounts)]) + accounts + bytes([len(data)]) + data
    assert payload.count(part) == 1
    start = payload.index(part) + 2
    return start, start + len(accounts) + 1


def account(number, index):
    """Finds which account an instruction has at an index."""
    def find(payload):
        start = written(payload, number)[0] + index
        return start, start + 1
    return find


def data(number, offset, length):
    """Finds a part of an instruction's data."""
    def find(payload):
        start = written(payload, number)[1] + offset
        return start, start + length
    return find


def token_free(*numbers):
    """The source account, which index names it, and the decimals, of instructions of a token program."""
    return [bytes(SOURCE)] + [find for number in numbers for find in (account(number, 0), data(number, 9, 1))]


def cases():
    return plain_cases() + token_cases() + account_cases() + table_cases() + unknown_cases()


def plain_cases():
    price, limit = set_compute_unit_price(123_457), set_compute_unit_limit(200_001)
    nonce = {"nonce_pubkey": NONCE, "authorized_pubkey": me()}
    advance = system.advance_nonce_account(nonce)
    return [
        case("a transfer, legacy", legacy([transfer(1_000_000_007)]), [sol(1_000_000_007)]),
        case("a transfer, version 0", version_0([transfer(1_000_000_007)]), [sol(1_000_000_007)]),
        case("a transfer of nothing", legacy([transfer(0)]), [sol(0)]),
        case("a transfer of the largest amount", legacy([transfer(2**64 - 1)]), [sol(2**64 - 1)]),
        case("a transfer to oneself", legacy([transfer(5, to=me())]), [sol(5, me())]),
        case("two transfers", legacy([transfer(5), transfer(7, STRANGER)]), [sol(5), sol(7, STRANGER)]),
        case("one transfer twice", version_0([transfer(5), transfer(5)]), [sol(5), sol(5)]),
        case("no instruction", legacy([])),
        case("a price and a limit", legacy([limit, price, transfer(5)]), [sol(5)],
             fee=SIGNATURE + -(-123_457 * 200_001 // 1_000_000),
             free=[data(0, 1, 1), data(1, 1, 1)]),
        case("a price without a limit", version_0([transfer(5), price]), [sol(5)],
             fee=SIGNATURE + -(-123_457 * 203_000 // 1_000_000), free=[data(1, 1, 1)]),
        case("a limit without a price", legacy([limit, transfer(5)]), [sol(5)], free=[data(0, 0, 5)]),
        case("the highest price, and a limit above the runtime's",
             legacy([set_compute_unit_limit(2**32 - 1), set_compute_unit_price(2**64 - 1), transfer(5)]), [sol(5)],
             fee=SIGNATURE + -(-(2**64 - 1) * 1_400_000 // 1_000_000),
             free=[data(0, 1, 4), data(1, 1, 1)]),
        case("more heap and less to load",
             legacy([request_heap_frame(262_144), set_loaded_accounts_data_size_limit(65_537), transfer(5)]), [sol(5)],
             # Either number made a limit's is as harmless.
             free=[data(0, 0, 5), data(1, 0, 5)]),
        case("a transfer with notes", legacy([transfer(5), memo(b"invoice 17"), memo(b"thanks", MEMO_1)]), [sol(5)],
             free=[b"invoice 17", b"thanks"]),
        case("a note by a second signer", legacy([transfer(5), memo(b"seen", signer=OTHER.pubkey())]), [sol(5)],
             fee=2 * SIGNATURE, free=[b"seen", account(1, 0), bytes(OTHER.pubkey())]),
        case("a transfer under a nonce of the sender's", legacy([advance, transfer(5)]), [sol(5)],
             free=[account(0, 0), account(0, 1), bytes(NONCE), bytes(advance.accounts[1].pubkey)]),
    ]


def token_cases():
    proven, unproven = checked(2_500_000, associated(FRIEND)), checked(2_500_000, ACCOUNT)
    newer = checked(9, associated(FRIEND, SPL_2022), program=SPL_2022)
    allowance = approve(2**64 - 1, STRANGER)
    wrapped = Pubkey.from_string("So11111111111111111111111111111111111111112")
    wrapping = checked(8, associated(FRIEND, mint=wrapped), mint=wrapped)
    owners = [Keypair.from_seed(bytes([number]) * 32).pubkey() for number in range(60, 66)]
    many = [checked(100 + index, associated(owner)) for index, owner in enumerate(owners)]
    return [
        case("tokens to a declared owner's account", legacy([proven]), [usdc(2_500_000, FRIEND)], recipients=[FRIEND],
             free=token_free(0)),
        case("tokens to the account of one of several", version_0([proven]), [usdc(2_500_000, FRIEND)],
             recipients=[STRANGER, me(), FRIEND], free=token_free(0)),
        case("tokens to an account of nobody declared", legacy([proven]),
             [usdc(2_500_000, associated(FRIEND), proven=False)], recipients=[STRANGER], free=token_free(0)),
        case("tokens to any account", legacy([unproven]), [usdc(2_500_000, ACCOUNT, proven=False)],
             recipients=[FRIEND], free=token_free(0)),
        case("tokens to the declared owner itself, which is no token account", legacy([checked(1, FRIEND)]),
             [usdc(1, FRIEND, proven=False)], recipients=[FRIEND], free=token_free(0)),
        case("tokens to an account of another mint", legacy([checked(1, associated(FRIEND, mint=wrapped))]),
             [usdc(1, associated(FRIEND, mint=wrapped), proven=False)], recipients=[FRIEND],
             free=token_free(0)),
        case("tokens to an account of the other program", legacy([checked(1, associated(FRIEND, SPL_2022))]),
             [usdc(1, associated(FRIEND, SPL_2022), proven=False)], recipients=[FRIEND],
             free=token_free(0)),
        case("tokens to six owners, whose accounts need several tries", version_0(many),
             [usdc(100 + index, owner) for index, owner in enumerate(owners)], recipients=owners,
             free=token_free(*range(6))),
        case("tokens of Token-2022", legacy([newer]), [usdc(9, FRIEND)], recipients=[FRIEND], free=token_free(0)),
        case("wrapped SOL", legacy([wrapping]), [movement(f"solana:{wrapped}", 8, str(FRIEND))], recipients=[FRIEND],
             free=token_free(0)),
        case("an allowance of tokens", legacy([allowance]), [usdc(2**64 - 1, STRANGER, "allowance")],
             free=token_free(0)),
        case("tokens and SOL", legacy([proven, transfer(3)]), [usdc(2_500_000, FRIEND), sol(3)], recipients=[FRIEND],
             free=token_free(0)),
    ]


def account_cases():
    paid = checked(5, associated(FRIEND))
    unknown = ("an instruction of the associated token program other than to make a declared recipient's account at "
               "the sender's cost")
    make = make_account(FRIEND)
    wrong = list(make.accounts)
    wrong[1] = AccountMeta(ACCOUNT, False, True)
    nested = with_(make, data=b"\x02")
    seventh = AccountMeta(PROGRAM, False, False)
    swapped = list(make.accounts)
    swapped[4] = AccountMeta(PROGRAM, False, False)
    return [
        case("an account made if it is missing, and tokens to it", legacy([make, paid]), [usdc(5, FRIEND)],
             fee=SIGNATURE + RENT, recipients=[FRIEND], free=[*token_free(1), data(0, 0, 1)]),
        case("an account made anew with the rent's account named, and tokens to it", version_0([make_account(FRIEND, idempotent=False), paid]),
             [usdc(5, FRIEND)], fee=SIGNATURE + RENT, recipients=[FRIEND], free=[*token_free(1), data(0, 0, 1)]),
        case("an account made by an empty instruction", legacy([with_(make, data=b"")]), fee=SIGNATURE + RENT,
             recipients=[FRIEND]),
        case("two accounts made", legacy([make, make_account(STRANGER)]), fee=SIGNATURE + 2 * RENT,
             recipients=[STRANGER, FRIEND], free=[data(0, 0, 1), data(1, 0, 1)]),
        case("an account made for an owner that nobody declared", legacy([make]), unknown=[unknown],
             recipients=[STRANGER]),
        case("an account of Token-2022 made", legacy([make_account(FRIEND, program=SPL_2022)]), unknown=[unknown],
             recipients=[FRIEND]),
        case("an account made at another's cost", legacy([make_account(FRIEND, payer=OTHER.pubkey())]),
             unknown=[unknown], fee=2 * SIGNATURE, recipients=[FRIEND]),
        case("an account made that is not the owner's", legacy([with_(make, accounts=wrong)]), unknown=[unknown],
             recipients=[FRIEND]),
        case("an account made with another program for the system's", legacy([with_(make, accounts=swapped)]),
             unknown=[unknown], recipients=[FRIEND]),
        case("an account made with a seventh account", legacy([with_(make, accounts=[*make.accounts, seventh])]),
             unknown=[unknown], recipients=[FRIEND]),
        case("nested accounts recovered", legacy([nested]), unknown=[unknown], recipients=[FRIEND]),
    ]


def table_cases():
    send = transfer(5)
    tokens = checked(5, associated(FRIEND))
    text = "an instruction of {} with accounts from an address lookup table"
    foreign = Instruction(PROGRAM, b"\x09\x08\x07", [AccountMeta(me(), True, True), AccountMeta(ACCOUNT, False, True)])
    return [
        case("a transfer to an address in a table", version_0([send], tables=[table(FRIEND)]),
             unknown=[text.format(system.ID)]),
        case("a transfer beside a table", version_0([send, foreign], tables=[table(ACCOUNT, STRANGER)]), [sol(5)],
             [text.format(PROGRAM)]),
        case("tokens whose mint is in a table", version_0([tokens], tables=[table(USDC)]),
             unknown=[text.format(SPL)], recipients=[FRIEND]),
        case("tokens whose destination is in a table", version_0([tokens], tables=[table(associated(FRIEND))]),
             unknown=[text.format(SPL)], recipients=[FRIEND]),
        case("a note with accounts in a table",
             version_0([Instruction(MEMO, b"hello", [AccountMeta(ACCOUNT, False, False)])], tables=[table(ACCOUNT)]),
             unknown=[text.format(MEMO)]),
    ]


def unknown_cases():
    plain = token.transfer(models.TransferParams(program_id=SPL, source=SOURCE, dest=ACCOUNT, owner=me(), amount=5,
                                                 signers=[]))
    hooked = checked(5, associated(FRIEND), program=SPL_2022)
    hooked = with_(hooked, accounts=[*hooked.accounts, AccountMeta(PROGRAM, False, False)])
    several = checked(5, ACCOUNT, owner=NONCE, signers=[me()])
    closing = Instruction(SPL, b"\x09", [AccountMeta(SOURCE, False, True), AccountMeta(me(), False, True),
                                         AccountMeta(me(), True, False)])
    burning = Instruction(SPL, b"\x0f" + (5).to_bytes(8, "little") + b"\x06",
                          [AccountMeta(SOURCE, False, True), AccountMeta(USDC, False, True), AccountMeta(me(), True, False)])
    longer = checked(5, ACCOUNT)
    longer = with_(longer, data=bytes(longer.data) + b"\x00")
    of_system = "{} of the system program"
    of_token = "the instruction {} of the token program {}"
    seeded = Pubkey.create_with_seed(me(), "seed", system.ID)
    foreign = Instruction(PROGRAM, b"\x01\x02\x03", [AccountMeta(me(), True, True)])

    def one(name, instruction, unknown, **rest):
        return case(name, legacy([instruction]), unknown=[unknown], **rest)

    return [
        one("another program", foreign, f"an instruction of the program {PROGRAM}"),
        case("a transfer and another program", legacy([transfer(5), foreign]), [sol(5)],
             [f"an instruction of the program {PROGRAM}"]),
        one("tokens without their mint", plain, of_token.format(3, SPL)),
        one("tokens of several keys together", several, of_token.format(12, SPL)),
        one("tokens with a hook", hooked, of_token.format(12, SPL_2022), recipients=[FRIEND]),
        one("an allowance under Token-2022", approve(5, STRANGER, program=SPL_2022), of_token.format(13, SPL_2022)),
        one("tokens with a byte after the decimals", longer, of_token.format(12, SPL)),
        one("a token account closed", closing, of_token.format(9, SPL)),
        one("tokens burnt", burning, of_token.format(15, SPL)),
        one("an empty instruction of the token program", Instruction(SPL, b"", []),
            f"an empty instruction of the token program {SPL}"),
        one("an account created", system.create_account(
            {"from_pubkey": me(), "to_pubkey": OTHER.pubkey(), "lamports": 5, "space": 0, "owner": PROGRAM}),
            of_system.format("a CreateAccount"), fee=2 * SIGNATURE),
        one("a transfer out of an account by seed", system.transfer_with_seed(
            {"from_pubkey": seeded, "from_base": me(), "from_seed": "seed", "from_owner": system.ID,
             "to_pubkey": FRIEND, "lamports": 5}), of_system.format("a TransferWithSeed")),
        one("the sender's account given away", system.assign({"pubkey": me(), "owner": PROGRAM}),
            of_system.format("an Assign")),
        one("SOL taken out of a nonce account", system.withdraw_nonce_account(
            {"nonce_pubkey": NONCE, "authorized_pubkey": me(), "to_pubkey": FRIEND, "lamports": 5}),
            of_system.format("a WithdrawNonceAccount")),
        one("a nonce account given away", system.authorize_nonce_account(
            {"nonce_pubkey": NONCE, "authorized_pubkey": me(), "new_authority": STRANGER}),
            of_system.format("an AuthorizeNonceAccount")),
        one("a nonce of another authority", system.advance_nonce_account(
            {"nonce_pubkey": NONCE, "authorized_pubkey": OTHER.pubkey()}),
            of_system.format("an AdvanceNonceAccount by another authority"), fee=2 * SIGNATURE),
        one("a transfer with a third account", with_(transfer(5), accounts=[
            *transfer(5).accounts, AccountMeta(STRANGER, False, False)]),
            of_system.format("a Transfer with other accounts than two")),
        one("a transfer with a byte after it", with_(transfer(5), data=bytes(transfer(5).data) + b"\x00"),
            "an instruction of the system program that it does not have"),
        one("an instruction that the system program does not have", with_(transfer(5), data=b"\xff\x00\x00\x00"),
            "an instruction of the system program that it does not have"),
    ]


def refused():
    def bad(name, payload, kind, says, recipients=()):
        return refusal(name, payload, kind, says, str(me()), map(str, recipients))

    other = OTHER.pubkey()
    plain, newer = legacy([transfer(5)]), version_0([transfer(5)])
    with_table = version_0([transfer(5)], tables=[table(FRIEND)])
    price, limit = set_compute_unit_price(7), set_compute_unit_limit(7)

    def changed(payload, at, value):
        payload = bytearray(payload)
        payload[at] = value
        return bytes(payload)

    # 3 bytes of header, the count, three keys (sender, friend, system program), the block hash, one instruction.
    assert plain[:4] == b"\x01\x00\x01\x03" and plain[132:137] == b"\x01\x02\x02\x00\x01"
    twice = plain[:36] + plain[4:36] + plain[68:]
    budget = with_(limit, data=b"\x05\x00\x00\x00\x00")
    return [
        bad("no bytes", b"", "malformed", "no bytes"),
        bad("another fee payer", legacy([transfer(5)], payer=other), "sender_mismatch", str(other)),
        bad("another fee payer, version 0", version_0([transfer(5)], payer=other), "sender_mismatch", str(other)),
        bad("a payer who is not the sender", legacy([transfer(5, from_=other)]), "sender_mismatch", str(other)),
        bad("a second payer", legacy([transfer(5), transfer(6, from_=other)]), "sender_mismatch", str(other)),
        bad("tokens of another authority", legacy([checked(5, ACCOUNT, owner=other)]), "sender_mismatch", str(other)),
        bad("an allowance by another authority", legacy([approve(5, STRANGER, owner=other)]), "sender_mismatch",
            str(other)),
        bad("a byte after it", plain + b"\x00", "malformed", "more than one"),
        bad("a byte after version 0", newer + b"\x00", "malformed", "more than one"),
        bad("its last byte missing", plain[:-1], "malformed", "no message"),
        bad("version 0 without its last byte", newer[:-1], "malformed", "no message"),
        bad("a message twice", plain + plain, "malformed", "more than one"),
        bad("a signed transaction", b"\x01" + b"\x5a" * 64 + plain, "malformed", "no message"),
        bad("version 1", b"\x81" + newer[1:], "unsupported", "version 1"),
        bad("version 126", b"\xfe" + newer[1:], "unsupported", "version 126"),
        bad("a message for people", b"\xffsolana offchain" + b"\x00" * 20, "unsupported", "off-chain"),
        bad("a count of keys spelled in two bytes", plain[:3] + b"\x83\x00" + plain[4:], "malformed", "no message"),
        bad("a count of keys spelled in three bytes", plain[:3] + b"\x83\x80\x00" + plain[4:], "malformed",
            "no message"),
        bad("a count of instructions spelled in two bytes", plain[:132] + b"\x81\x00" + plain[133:], "malformed",
            "no message"),
        bad("more keys than bytes", plain[:3] + b"\xff\xff\x03" + plain[4:], "malformed", "no message"),
        bad("one key twice", twice, "malformed", "named twice"),
        bad("no signer", changed(plain, 0, 0), "malformed", "the runtime's rules"),
        bad("more signers than keys", changed(plain, 0, 4), "malformed", "the runtime's rules"),
        bad("a payer that is only read", changed(plain, 1, 1), "malformed", "the runtime's rules"),
        bad("a program beyond the keys", changed(plain, 133, 3), "malformed", "the runtime's rules"),
        bad("the payer as program", changed(plain, 133, 0), "malformed", "the runtime's rules"),
        bad("an account beyond the keys", changed(plain, 136, 3), "malformed", "the runtime's rules"),
        bad("a program in a table", changed(with_table, with_table.index(b"\x0b" * 32) + 33, 2), "malformed",
            "the runtime's rules"),
        bad("a table of which nothing is used", newer[:-1] + b"\x01" + bytes(TABLE) + b"\x00\x00", "malformed",
            "the runtime's rules"),
        bad("a price twice", legacy([price, price, transfer(5)]), "malformed", "twice"),
        bad("two limits", legacy([limit, set_compute_unit_limit(8), transfer(5)]), "malformed", "twice"),
        bad("a price with a byte after it", legacy([with_(price, data=bytes(price.data) + b"\x00")]), "malformed",
            "compute budget"),
        bad("a price that is cut short", legacy([with_(price, data=bytes(price.data)[:-1])]), "malformed",
            "compute budget"),
        bad("a budget instruction of tomorrow", legacy([budget]), "malformed", "compute budget"),
        bad("more than a packet", b"\x01" * 1233, "too_large", "at most 1232 bytes"),
        bad("more than a packet with its signature", legacy_unsigned(memo(b"m" * 1065)), "too_large",
            "at most 1167 bytes"),
    ]


def legacy_unsigned(instruction):
    """A message that is too large to be sent with its signature."""
    return bytes(Message.new_with_blockhash([instruction], me(), Hash(BLOCKHASH)))


def vectors():
    return {"made_with": "solders 0.29.0, solana-py 0.41.0", "cases": cases(), "refused": refused()}
