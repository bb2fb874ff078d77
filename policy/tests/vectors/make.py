"""Makes evm.json and solana.json: payloads by independent clients, and what each does.

    python3 -m venv clients
    clients/bin/pip install eth-account==0.14.0 solders==0.29.0 solana==0.41.0
    clients/bin/python policy/tests/vectors/make.py

A case has the payload's bytes, who signs, whom the client says it pays, and the facts. `free` are the bytes that no
fact names, as [start, end): any other byte changes a fact, or makes the payload another's or none. It is null where
the payload does what nobody can read. What is refused
has the kind of the refusal and words of its text. Everything is made from fixed keys, so the files come out the same.
"""

import hashlib
import json
import os

import evm
import solana_messages

HERE = os.path.dirname(os.path.abspath(__file__))

for name, vectors in {"evm": evm.vectors(), "solana": solana_messages.vectors()}.items():
    names = [case["name"] for case in vectors["cases"] + vectors["refused"]]
    assert len(names) == len(set(names)), "two cases of one name"
    text = json.dumps(vectors, indent=1) + "\n"
    with open(os.path.join(HERE, f"{name}.json"), "w") as file:
        file.write(text)
    print(f"{name}.json: {len(vectors['cases'])} read, {len(vectors['refused'])} refused,",
          hashlib.sha256(text.encode()).hexdigest())
