"""Folders of images from a stranger: no format but those that are meant, one picture a file, plain files alone."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageFile

import pyrovae as pv
from pyrovae.data.datasets import load

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def frames(count: int) -> list[Image.Image]:
    return [Image.fromarray(np.full((8, 8), 40 * number, np.uint8)) for number in range(count)]


def saved(format: str, count: int = 1, **options) -> bytes:
    stream = io.BytesIO()
    first, *rest = frames(count)
    first.save(stream, format, **({"save_all": True, "append_images": rest} if rest else {}), **options)
    return stream.getvalue()


def test_postscript_under_the_name_of_an_image_starts_nothing(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def started(*words, **more):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    (tmp_path / "cat.png").write_bytes(POSTSCRIPT)
    with pytest.raises(AssertionError, match="was started"), Image.open(tmp_path / "cat.png") as picture:
        picture.load()  # that is what Pillow does
    with pytest.raises(pv.FileError, match=r"cat\.png is none of PNG, JPEG, BMP, TIFF, WEBP"):
        load(tmp_path)


@pytest.mark.parametrize("format", ["GIF", "PPM", "TGA", "ICO", "PDF", "SGI", "DDS"])
def test_formats_that_are_not_meant_are_refused_whatever_they_are_called(tmp_path, format):
    (tmp_path / "cat.png").write_bytes(saved(format))
    with pytest.raises(pv.FileError, match=r"cat\.png is none of PNG"):
        load(tmp_path)


@pytest.mark.parametrize(("format", "suffix"), [("PNG", "png"), ("TIFF", "tif"), ("WEBP", "webp"), ("MPO", "jpg")])
def test_several_frames_or_pages_are_refused_by_name(tmp_path, format, suffix):
    (tmp_path / f"cat.{suffix}").write_bytes(saved(format, 3))
    with pytest.raises(pv.DataError, match=rf"cat\.{suffix} holds 3 frames or pages"):
        load(tmp_path)
    (tmp_path / f"cat.{suffix}").write_bytes(saved("JPEG" if format == "MPO" else format))
    assert load(tmp_path, mode="L").values.shape == (1, 8, 8)


@pytest.mark.parametrize(("format", "suffix"), [("PNG", "png"), ("TIFF", "tif"), ("WEBP", "webp")])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_pictures_stand_upright_whatever_the_camera_wrote(tmp_path, format, suffix, orientation, turns):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    Image.fromarray(pixels).save(tmp_path / f"cat.{suffix}", format, exif=exif, **options)
    assert np.array_equal(load(tmp_path).values[0].transpose(1, 2, 0), np.rot90(pixels, turns))


def png(depth: int, kind: int, rows: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG as Pillow does not write it."""
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">2I5B", rows.shape[1], rows.shape[0], depth, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_a_channel_are_not_cut_to_eight(tmp_path, kind, channels):
    rows = np.random.default_rng(0).integers(0, 65_536, (4, 6, channels)).astype(">u2")
    (tmp_path / "cat.png").write_bytes(png(16, kind, rows))
    with pytest.raises(pv.DataError, match="more than 8 bits a channel"):
        load(tmp_path, mode="RGB")


def test_a_colour_that_stands_for_none_is_said(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    (tmp_path / "cat.png").write_bytes(png(8, 2, rows, chunk(b"tRNS", struct.pack(">3H", *map(int, rows[0, 0])))))
    with pytest.raises(pv.DataError, match=r"RGB with transparency .* mode='RGB'"):
        load(tmp_path)
    assert load(tmp_path, mode="RGB").values.shape == (1, 3, 4, 6)


def test_images_that_are_left_out_are_said(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(saved("PNG"))
    (tmp_path / "images" / "notes.txt").touch()
    (tmp_path / "images" / ".hidden.gif").touch()
    load(tmp_path / "images")
    (tmp_path / "images" / "b.gif").write_bytes(saved("GIF"))
    (tmp_path / "images" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(pv.PyrovaeWarning, match=r"2 images of other kinds or links to folders .*'b\.gif', 'more'"):
        assert load(tmp_path / "images").names == ("a.png",)


def test_a_folder_that_cannot_be_looked_through_is_said(tmp_path, monkeypatch):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")

    def refused(path, pattern):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "rglob", refused)
    with pytest.raises(pv.FileError, match="cannot be read: Permission denied"):
        load(tmp_path)


@pytest.mark.parametrize("make", ["pipe", "socket", "link to a device"])
def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path, make, monkeypatch):
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    place = tmp_path / "cat.png"
    if make == "pipe":
        os.mkfifo(place)
    elif make == "socket":
        monkeypatch.chdir(tmp_path)  # a socket's path has few letters
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("cat.png")
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(pv.FileError, match=rf"cat\.png is a {make.split()[-1]}"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", "-ubyte"])
def test_data_that_are_a_pipe_are_refused_and_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"x{suffix}")
    with pytest.raises(pv.FileError, match="is a pipe, and no plain file"):
        load(tmp_path / f"x{suffix}")


def test_what_pillow_does_elsewhere_is_left_as_it_is(tmp_path):
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, GifImagePlugin.LOADING_STRATEGY
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    load(tmp_path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, GifImagePlugin.LOADING_STRATEGY)


def test_the_limit_of_pixels_is_said(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(pv.FileError, match=r"a\.png.*64 pixels.*limit.* 40.*Scale it down"):
        load(tmp_path)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(pv.FileError, match="has 64 pixels, and the limit"),
    ):
        load(tmp_path)
