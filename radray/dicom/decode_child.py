"""The decoding child process: reads requests on standard input, answers on standard output, ends when its input ends.

A message is a head of two unsigned 32-bit lengths, then that many bytes of JSON and of body.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
from typing import Any, BinaryIO

HEAD = struct.Struct("<LL")
READY: dict[str, Any] = {"ready": True}


def main() -> None:
    """Answer until the parent closes the pipe. Arguments: most bytes of address space."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a codec that prints must not write into the answers
    import cv2

    from radray.dicom.codecs import decode_frame
    from radray.dicom.samples import FrameSpec

    cv2.setNumThreads(1)
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _send(answers, READY, b"")
    while request := _receive(requests):
        document, frame = request
        document["padding"] = tuple(document["padding"]) if document["padding"] else None
        document["palette"] = tuple(document["palette"]) if document["palette"] else None
        try:
            small = decode_frame(frame, FrameSpec(**document))
        except MemoryError:
            _send(answers, {"error": "MemoryError"}, b"")
        except Exception as error:  # codecs raise what they like; the parent turns it into a reason
            _send(answers, {"error": type(error).__name__}, b"")
        else:
            facts = {
                "shape": small.values.shape,
                "is_luminance": small.is_luminance,
                "source": [small.source_rows, small.source_columns],
            }
            _send(answers, facts, small.values.tobytes())


def _receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    document, body = HEAD.unpack(head)
    return json.loads(stream.read(document)), stream.read(body)


def _send(stream: BinaryIO, document: dict[str, Any], body: bytes) -> None:
    text = json.dumps(document).encode()
    stream.write(HEAD.pack(len(text), len(body)) + text + body)
    stream.flush()


if __name__ == "__main__":
    main()
