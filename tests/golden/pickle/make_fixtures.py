#!/usr/bin/env python3
"""Makes the small .bin files beside this script (needs torch). Tests compare what krait reads from
good_*.bin with the formula of value(); the other files are hostile or broken on purpose."""
import collections
import io
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import torch

HERE = Path(__file__).parent


def value(shape, dtype):
    """Element i is i % 7 - 3, or i % 7 for unsigned bytes and i % 2 for bool."""
    n = int(torch.tensor(shape).prod()) if shape else 1
    i = torch.arange(n)
    if dtype == torch.bool:
        flat = i % 2 == 1
    elif dtype == torch.uint8:
        flat = i % 7
    else:
        flat = i % 7 - 3
    return flat.to(dtype).reshape(shape)


def good():
    state = collections.OrderedDict()
    for name in ["float32", "float16", "bfloat16", "float64", "int8", "uint8", "int16", "int32",
                 "int64", "bool"]:
        state["dtype." + name] = value((3, 5), getattr(torch, name))
    state["scalar"] = value((), torch.float32)
    state["empty"] = value((0, 4), torch.float32)
    state["rank4"] = value((2, 3, 1, 5), torch.float32)
    state["transposed"] = value((4, 6), torch.float32).t()
    big = value((10, 6), torch.float32)
    state["rows"] = big[3:7]  # shares a storage, contiguous, offset 18
    state["columns"] = big[:, 1:5:2]
    state["tied.a"] = state["tied.b"] = value((2, 2), torch.bfloat16)
    state["parameter"] = torch.nn.Parameter(value((2, 3), torch.float32))
    state["not_a_tensor"] = [1, 2.5, None, True, -70000, 1 << 40, ("x", {"y": 3})]
    state._metadata = collections.OrderedDict(version=1)
    torch.save(state, HERE / "good_ordered.bin")
    torch.save(dict(state), HERE / "good_protocol4.bin", pickle_protocol=4)
    torch.save({"epoch": 3, "model": {"w": value((2, 3), torch.float16)}}, HERE / "good_model.bin")
    torch.save({"state_dict": {"w": value((2, 3), torch.float16)}}, HERE / "good_state_dict.bin")


def archive(name, data_pkl, storages=None, compression=zipfile.ZIP_STORED, extra=None):
    entries = {"data.pkl": data_pkl}
    entries |= {"data/" + key: content for key, content in (storages or {"0": bytes(24)}).items()}
    write_zip(name, entries | (extra or {}), compression)


def write_zip(name, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(HERE / name, "w") as z:
        for key, content in entries.items():
            info = zipfile.ZipInfo("archive/" + key)  # dated 1980: the same bytes every time
            info.compress_type = compression
            z.writestr(info, content)


def zip64(name, entries, offset_of_end=None):
    """An archive that says every size and offset in zip64 fields, as one above 4 GiB does."""
    body, central, most = b"", b"", 0xFFFFFFFF
    for key, content in entries.items():
        path = ("archive/" + key).encode()
        place = len(body)
        crc = zlib.crc32(content)
        body += struct.pack("<IHHHHHIIIHH", 0x04034B50, 45, 0, 0, 0, 0, crc, most, most, len(path), 20)
        body += path + struct.pack("<HHQQ", 1, 16, len(content), len(content)) + content
        extra = struct.pack("<HHI", 0x7777, 4, 0)  # some other field before it
        extra += struct.pack("<HHQQQ", 1, 24, len(content), len(content), place)
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 45, 45, 0, 0, 0, 0, crc, most, most,
                               len(path), len(extra), 0, 0, 0, 0, most) + path + extra
    end64 = len(body) + len(central) if offset_of_end is None else offset_of_end
    end = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, len(entries), len(entries),
                      len(central), len(body))
    end += struct.pack("<IIQI", 0x07064B50, 0, end64, 1)
    end += struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, most, most, 7) + b"comment"
    (HERE / name).write_bytes(body + central + end)


class Call:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def unicode(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def integer(number):
    data = number.to_bytes(8, "little", signed=True)
    return b"\x8a\x08" + data


def tensor(offset=0, sizes=(2, 3), strides=(3, 1), elements=6, key="0", storage="FloatStorage"):
    """data.pkl of {"w": one tensor} with any numbers."""
    return (b"\x80\x02}" + unicode("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(("
            + unicode("storage") + b"ctorch\n" + storage.encode() + b"\n" + unicode(key)
            + unicode("cpu") + integer(elements) + b"tQ" + integer(offset)
            + b"(" + b"".join(integer(s) for s in sizes) + b"t"
            + b"(" + b"".join(integer(s) for s in strides) + b"t"
            + b"\x89ccollections\nOrderedDict\n)RtRs.")


def hostile():
    archive("good_handmade.bin", tensor(), {"0": struct.pack("<6f", *range(6))})
    zip64("good_zip64.bin", {"data.pkl": tensor(), "data/0": struct.pack("<6f", *range(6))})
    zip64("zip64_end_outside.bin", {"data.pkl": tensor()}, 1 << 63)
    archive("evil_system.bin", pickle.dumps({"w": Call(os.system, "touch /tmp/krait-owned")}, protocol=2))
    archive("evil_stack_global.bin", pickle.dumps({"w": Call(os.system, "id")}, protocol=4))
    archive("evil_eval.bin", pickle.dumps({"w": Call(eval, "1+1")}, protocol=2))
    archive("evil_inst.bin", b"(S'id'\nios\nsystem\n.".replace(b"S'id'\n", unicode("id")))
    archive("evil_getattr.bin", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.")
    archive("deep_nesting.bin", b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".")
    archive("deep_marks.bin", b"\x80\x02" + b"(" * 5000 + b".")
    archive("cycle.bin", b"\x80\x02}q\x00" + unicode("model") + b"h\x00s.")
    archive("compressed.bin", tensor(), {"0": bytes(400)}, zipfile.ZIP_DEFLATED)
    archive("huge_offset.bin", tensor(offset=1 << 62))
    archive("negative_offset.bin", tensor(offset=-1))
    archive("huge_stride.bin", tensor(strides=(1 << 62, 1 << 62)))
    archive("negative_stride.bin", tensor(strides=(-3, 1)))
    archive("negative_size.bin", tensor(sizes=(-2, 3)))
    archive("huge_size.bin", tensor(sizes=(1 << 32, 1 << 32)))
    archive("expanded.bin", tensor(sizes=(1 << 40, 3), strides=(0, 1)))
    archive("rank5.bin", tensor(sizes=(1, 1, 1, 1, 1), strides=(1, 1, 1, 1, 1)))
    archive("stride_count.bin", tensor(strides=(1,)))
    archive("short_storage.bin", tensor(), {"0": bytes(23)})
    archive("missing_storage.bin", tensor(key="7"))
    archive("storage_outside.bin", tensor(key="../../secret"))
    archive("complex.bin", tensor(storage="ComplexFloatStorage"))
    archive("big_endian.bin", tensor(), extra={"byteorder": b"big"})
    archive("torchscript.bin", tensor(), extra={"constants.pkl": b"\x80\x02)."})
    archive("no_tensor.bin", pickle.dumps({"epoch": 3}, protocol=2))
    archive("not_a_dict.bin", pickle.dumps([1, 2], protocol=2))
    archive("truncated_pickle.bin", tensor()[:60])
    archive("empty_stack.bin", b"\x80\x02s.")
    archive("bad_memo.bin", b"\x80\x02h\x05.")
    write_zip("no_pickle.bin", {"version": b"3"})
    whole = (HERE / "good_handmade.bin").read_bytes()
    (HERE / "truncated.bin").write_bytes(whole[: len(whole) // 2])
    (HERE / "truncated_end.bin").write_bytes(whole[:-4])
    (HERE / "no_zip.bin").write_bytes(b"this is no zip archive, only a line of text\n")
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    (HERE / "old_format.bin").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    good()
    hostile()
    for path in sorted(HERE.glob("*.bin")):
        assert path.stat().st_size < 20000, (path, path.stat().st_size)
