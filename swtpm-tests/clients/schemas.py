"""Independent client of the stories: it holds documents to a JSON Schema (draft 2020-12).

`schemas.py check` reads a JSON list of {"schema": …, "document": …} and prints null for each document that the schema allows,
or why it does not.
"""

import json
import sys

import jsonschema_rs


def check(case):
    jsonschema_rs.meta.validate(case["schema"])
    try:
        jsonschema_rs.Draft202012Validator(case["schema"]).validate(case["document"])
    except jsonschema_rs.ValidationError as error:
        return str(error)
    return None


if sys.argv[1:] != ["check"]:
    sys.exit(__doc__)
json.dump([check(case) for case in json.load(sys.stdin)], sys.stdout)
