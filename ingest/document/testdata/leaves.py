# Reads mail with Python's email package, for TestAnotherReader.
#
# Standard input: for each mail its length in decimal digits, a line feed, and its
# bytes. Standard output: for each mail a line of JSON: of every part that has no
# parts the type, and the size and SHA-256 of its decoded content, and the SHA-256
# of that without the last line end; the parts of attached messages are among them.
import email
import email.policy
import hashlib
import json
import sys


def leaves(part):
    kind = part.get_content_type()
    if kind.startswith("message/") and kind not in ("message/rfc822", "message/global", "message/news"):
        return  # reports are taken apart into blocks of fields, and are no bytes then
    if part.is_multipart():
        for child in part.get_payload():
            yield from leaves(child)
        return
    content = part.get_payload(decode=True) or b""
    shorter = content[:-1] if content.endswith((b"\n", b"\r")) else content
    if content.endswith(b"\r\n"):
        shorter = content[:-2]
    yield {"type": kind, "size": len(content), "whole": digest(content), "shorter": digest(shorter)}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def main():
    source, out = sys.stdin.buffer, sys.stdout
    while line := source.readline():
        raw = source.read(int(line))
        answer = {}
        try:
            answer["leaves"] = list(leaves(email.message_from_bytes(raw, policy=email.policy.compat32)))
        except Exception as e:  # whatever it makes of damaged mail
            answer["error"] = repr(e)
        json.dump(answer, out)
        out.write("\n")


main()
