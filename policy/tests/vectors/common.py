"""What both kinds of vectors share: cases, and where a payload's free bytes are."""


def movement(currency, amount, recipient, kind="transfer", proven=True):
    return {
        "kind": kind,
        "currency": currency,
        "amount": str(amount),
        "recipient": recipient,
        "recipient_proven": proven,
    }


def ranges(payload, free):
    """Where the free bytes are: each a part that is there once, or what finds one."""
    found = []
    for part in free:
        if callable(part):
            found.append(list(part(payload)))
            continue
        assert payload.count(part) == 1, f"{part.hex()} is there {payload.count(part)} times"
        start = payload.index(part)
        found.append([start, start + len(part)])
    return found


def refusal(name, payload, kind, says, sender, recipients=()):
    return {
        "name": name,
        "payload": payload.hex(),
        "sender": sender,
        "recipients": list(recipients),
        "refusal": kind,
        "says": says,
    }
