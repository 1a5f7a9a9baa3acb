"""Parquet and Arrow files as pyarrow writes them, each beside the same rows as JSON lines.

    python3 tests/parity/make_parquet_goldens.py [--out tests/goldens/data]      (needs pyarrow)
"""
import argparse
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "goldens" / "data")
OUT = PARSER.parse_args().out / "parquet"

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])


def write(name, rows, schema, **options):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), OUT / f"{name}.parquet", **options)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (OUT / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_arrow(name, of_parquet, writer, batch, **options):
    """The rows of a Parquet file in one of Arrow's own forms."""
    table = pq.read_table(OUT / f"{of_parquet}.parquet")
    with writer(OUT / f"{name}.arrow", table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table, max_chunksize=batch)
    (OUT / f"{name}.jsonl").write_bytes((OUT / f"{of_parquet}.jsonl").read_bytes())


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    messages = [{"messages": [{"role": "user", "content": f"Where is cat {i}? \U0001F600"},
                              {"role": "assistant", "content": None if i == 3 else f"In park {i}.\n"}],
                 "tags": None if i % 4 == 0 else [f"t{i}", None], "score": i / 4 if i % 3 else None, "id": 2**53 + i,
                 "good": i % 2 == 0, "meta": {"a": [[i], []], "b": {"c": "é"}}} for i in range(40)]
    meta = pa.struct([("a", pa.list_(pa.list_(pa.int16()))), ("b", pa.struct([("c", pa.string())]))])
    write("messages", messages,
          pa.schema([("messages", pa.list_(TURN)), ("tags", pa.list_(pa.string())), ("score", pa.float64()),
                     ("id", pa.int64()), ("good", pa.bool_()), ("meta", meta)]),
          compression="zstd", row_group_size=7)
    for compression in ("none", "snappy", "gzip", "brotli", "lz4"):
        rows = [{"prompt": f"Name a colour of {i % 3}.", "completion": "red" if i % 2 else "blue"} for i in range(12)]
        write(f"dictionary_{compression}", rows,
              pa.schema([("prompt", pa.large_string()), ("completion", pa.dictionary(pa.int8(), pa.string()))]),
              compression=compression, row_group_size=5)
    write("plain", [{"text": "long " * 3000}, {"text": "b"}], pa.schema([("text", pa.large_string())]),
          use_dictionary=False, compression="zstd", data_page_version="2.0")
    # As datasets' save_to_disk writes them, and as Feather's version 2 is.
    write_arrow("messages_stream", "messages", pa.ipc.new_stream, 9)
    write_arrow("dictionary_file", "dictionary_none", pa.ipc.new_file, 5, compression="zstd")


if __name__ == "__main__":
    main()
