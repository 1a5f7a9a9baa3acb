"""Writes tests/goldens/data/images.json: small pictures as PNG and JPEG files, what Pillow decodes and resizes them to,
and what transformers' image processors (Pillow backends) make of them.

    python3 tests/parity/make_image_goldens.py [--out tests/goldens/data]      (needs pillow)
"""

import argparse
import base64
import io
import json
import pathlib

import numpy as np
from PIL import Image
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

PROCESSORS = {
    "convnext-crop": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 8}, "crop_pct": 0.75,
                      "resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "vit-bilinear": {"image_processor_type": "ViTImageProcessor", "size": {"height": 7, "width": 9}, "resample": 2,
                     "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]},
    "vit-bytes": {"image_processor_type": "ViTImageProcessor", "size": {"height": 12, "width": 5}, "resample": 1,
                  "do_normalize": False},
}


def b64(data):
    return base64.b64encode(bytes(data)).decode()


def coded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "data")
    out = parser.parse_args().out
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:23, 0:17]
    smooth = np.stack([x * 15, y * 11, (x * y) % 256], -1)
    noisy = np.clip(smooth + rng.integers(-60, 60, smooth.shape), 0, 255).astype(np.uint8)
    rgb = Image.fromarray(noisy)
    gray = Image.fromarray(noisy[:, :, 1])
    alpha = Image.fromarray(np.dstack([noisy, (x * 15).astype(np.uint8)]))
    wide = Image.fromarray((np.arange(6 * 5, dtype=np.uint16).reshape(5, 6) * 2113))
    files = {
        "rgb.png": coded(rgb, "PNG"), "gray.png": coded(gray, "PNG"), "alpha.png": coded(alpha, "PNG"),
        "palette.png": coded(rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=16), "PNG"),
        "bits.png": coded(gray.convert("1"), "PNG"), "wide.png": coded(wide, "PNG"),
        "rgb.jpg": coded(rgb, "JPEG", quality=85), "gray.jpg": coded(gray, "JPEG"),
        "progressive.jpg": coded(rgb, "JPEG", progressive=True), "cmyk.jpg": coded(rgb.convert("CMYK"), "JPEG"),
    }
    decoded = {}
    for name, data in files.items():
        if name in ("wide.png", "cmyk.jpg"):
            continue
        image = Image.open(io.BytesIO(data))
        decoded[name] = {"size": image.size, "rgb": b64(image.convert("RGB").tobytes()),
                         "l": b64(image.convert("L").tobytes())}
    resized = [{"size": size, "filter": filter, "rgb": b64(rgb.resize(size, filter).tobytes())}
               for filter in (1, 2, 3) for size in ((8, 8), (40, 31), (17, 5), (3, 23), (1, 1))]
    processed = []
    for name, config in PROCESSORS.items():
        cls = ConvNextImageProcessorPil if name.startswith("convnext") else ViTImageProcessorPil
        processor = cls(**{k: v for k, v in config.items() if k != "image_processor_type"})
        values = np.asarray(processor(rgb)["pixel_values"])[0].astype(np.float32)
        processed.append({"name": name, "config": config, "shape": values.shape, "values": b64(values.tobytes())})
    result = {"files": {name: b64(data) for name, data in files.items()}, "decoded": decoded, "resized": resized,
              "processed": processed}
    out.mkdir(parents=True, exist_ok=True)
    (out / "images.json").write_text(json.dumps(result, indent=0) + "\n")


if __name__ == "__main__":
    main()
