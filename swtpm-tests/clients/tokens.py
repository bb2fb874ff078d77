"""Independent client of the stories: it reads Entity Attestation Tokens.

`tokens.py read` reads a JSON list of {"token": hex, "key": PEM, "kid": hex} and prints the claims of each, by their keys, or
{"error": why} where it takes none.
"""

import json
import sys

import cwt


def shown(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): shown(value) for key, value in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(value) for value in value]
    return value


def read(case):
    try:
        key = cwt.COSEKey.from_pem(case["key"], kid=bytes.fromhex(case["kid"]))
        return shown(cwt.decode(bytes.fromhex(case["token"]), key))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if sys.argv[1:] != ["read"]:
    sys.exit(__doc__)
json.dump([read(case) for case in json.load(sys.stdin)], sys.stdout)
