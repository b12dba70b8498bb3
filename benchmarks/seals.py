"""`python -m benchmarks.seals`: how many bodies a second are sealed and opened, by size, and what share of that is the cipher alone.

Owns one measurement, of one process. Prints figures and passes no judgement.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from killswitch.core import codec
from killswitch.core.messages import Order, OrderPush, Query
from killswitch.live import frames
from killswitch.live.pki import Pki, sealing_file
from killswitch.live.sealing import KEY_SIZE, NONCE_SIZE, Sealing, Seals

SIDECAR, REPLICA = "sidecar/acme/1", "replica/1"
ROUNDS = 5
TIMES = 4000


def us_each(act: Callable[[], object]) -> float:
    """CPU time of doing it, the least of a few rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(TIMES):
            act()
        rounds.append((time.process_time() - began) * 1e6 / TIMES)
    return min(rounds)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Pki(Path(directory), "bench.example").issue((SIDECAR, REPLICA))
        sidecar, replica = (Seals(Sealing(str(sealing_file(Path(directory), node))), node) for node in (SIDECAR, REPLICA))
        cipher = AESGCMSIV(os.urandom(KEY_SIZE))
        print("bytes of body   us to encode   us to seal   us to open   of which the cipher   sealed and opened a second")
        for message in (
            Query("acme/1", "k"),
            OrderPush((Order(bytes(1 << 10), REPLICA, bytes(64)),), ()),
            OrderPush((Order(bytes(1 << 16), "", b""),), ()),
        ):
            content = codec.encode(message, SIDECAR, REPLICA, "acme")
            payload, body = frames.message_payload(0, content), content[codec.scan(content) :]
            sealed = sidecar.seal(REPLICA, payload)
            encoding = us_each(lambda message=message: codec.encode(message, SIDECAR, REPLICA, "acme"))  # type: ignore[misc]
            sealing = us_each(lambda payload=payload: sidecar.seal(REPLICA, payload))  # type: ignore[misc]
            opening = us_each(lambda sealed=sealed: replica.open(SIDECAR, sealed))  # type: ignore[misc]
            alone = 2 * us_each(lambda body=body: cipher.encrypt(bytes(NONCE_SIZE), body, None))  # type: ignore[misc]
            both = sealing + opening
            print(f"{len(body):13}   {encoding:12.1f}   {sealing:10.1f}   {opening:10.1f}   {alone / both:19.0%}   {1e6 / both:26,.0f}", flush=True)


if __name__ == "__main__":
    main()
