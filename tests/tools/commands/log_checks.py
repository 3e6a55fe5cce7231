"""Changes logs as one who also knows of their CRCs: what is found out then, is found out by other means."""
import contextlib
import pathlib
import struct
import zlib

import h5py

sector = 4096
first = 4096  # sectors of the first table


def cover_again(path):
    """Gives every covered sector of a log the CRC of what is in it now (core/record/sector_checks.hpp)."""
    path = pathlib.Path(path)
    data = bytearray(path.read_bytes())
    at = next(at for at in range(sector, len(data), sector) if data[at : at + 8] == b"NESSCHK1")
    _, _, *tables = struct.unpack_from("<QQ16Q", data, at + 8)
    for k, table in enumerate(tables):
        begin, count = (0, first) if k == 0 else (first << (k - 1),) * 2
        for i in range(count if table else 0):
            place = (begin + i) * sector
            if place >= len(data):
                break
            if struct.unpack_from("<II", data, table + 8 * i) == (0, 0):
                continue
            crc = zlib.crc32(bytes(data[place : place + sector]).ljust(sector, b"\0")) or 1
            struct.pack_into("<II", data, table + 8 * i, crc, crc)
    path.write_bytes(data)


@contextlib.contextmanager
def tampered(path):
    with h5py.File(path, "r+", locking=False) as log:
        yield log
    cover_again(path)
