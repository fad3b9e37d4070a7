"""One DICOM object: its header as facts (`header`), its pixels as a radiograph at the size asked for (`pixels`).

Nothing is imported here: the decoding child process starts fast, and a reader of headers needs no codec.
"""
