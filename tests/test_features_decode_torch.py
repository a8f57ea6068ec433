"""Images of every kind become 8-bit RGB, and broken ones a reason."""

import numpy as np
import pytest

from lshcore.data.images import ArrayImages, FileImages
from lshcore.features.decode import Batches, Unreadable, rgb

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

COLOUR = np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)


def numbers(image):
    return torch.from_numpy(np.array(image))


def decoded(path):
    with Image.open(path) as image:
        out = rgb(image)
    assert out.mode == "RGB"
    return np.asarray(out)


class TestModes:
    @pytest.mark.parametrize("suffix", ["png", "tiff", "ppm", "bmp"])
    def test_rgb_is_kept(self, tmp_path, suffix):
        Image.fromarray(COLOUR).save(tmp_path / f"x.{suffix}")
        np.testing.assert_array_equal(decoded(tmp_path / f"x.{suffix}"), COLOUR)

    def test_grey_and_bilevel(self, tmp_path):
        Image.fromarray(COLOUR[..., 0]).save(tmp_path / "x.png")
        np.testing.assert_array_equal(decoded(tmp_path / "x.png"), np.repeat(COLOUR[..., :1], 3, axis=2))
        Image.fromarray(COLOUR[..., 0] > 127).save(tmp_path / "y.png")
        assert set(np.unique(decoded(tmp_path / "y.png"))) == {0, 255}

    @pytest.mark.parametrize("suffix", ["png", "tiff"])
    def test_sixteen_bits(self, tmp_path, suffix):
        grey = np.arange(0, 65536, 109, dtype=np.uint16)[:600].reshape(20, 30)
        Image.fromarray(grey).save(tmp_path / f"x.{suffix}")
        exact = np.round(grey / 257).astype(np.uint8)
        np.testing.assert_array_equal(decoded(tmp_path / f"x.{suffix}"), np.repeat(exact[..., None], 3, axis=2))

    @pytest.mark.parametrize("value", [-1, 65536])
    def test_wide_integers_and_floats_are_refused(self, tmp_path, value):
        Image.fromarray(np.full((4, 4), value, np.int32)).save(tmp_path / "x.tiff")
        with pytest.raises(ValueError, match="neither of 8 nor of 16 bits"):
            decoded(tmp_path / "x.tiff")
        Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "y.tiff")
        with pytest.raises(ValueError, match="no known range"):
            decoded(tmp_path / "y.tiff")

    def test_cmyk(self, tmp_path):
        Image.fromarray(COLOUR).resize((300, 200), Image.Resampling.BICUBIC).convert("CMYK").save(
            tmp_path / "x.jpg", quality=98
        )
        expected = np.asarray(Image.fromarray(COLOUR).resize((300, 200), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(decoded(tmp_path / "x.jpg") - expected).mean() < 3

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparent_pixels_are_white(self, tmp_path, mode):
        alpha = np.full((20, 30), 255, np.uint8)
        alpha[:10] = 0
        image = Image.fromarray(COLOUR).convert(mode)
        image.putalpha(Image.fromarray(alpha))
        image.save(tmp_path / "x.png")
        out = decoded(tmp_path / "x.png")
        assert (out[:10] == 255).all()
        np.testing.assert_array_equal(out[10:], np.asarray(image.convert("RGB"))[10:])

    def test_palettes(self, tmp_path):
        image = Image.fromarray(COLOUR).quantize(16)
        image.save(tmp_path / "x.gif")
        np.testing.assert_array_equal(decoded(tmp_path / "x.gif"), np.asarray(image.convert("RGB")))
        image.save(tmp_path / "y.png", transparency=0)
        transparent = np.asarray(image) == 0
        assert (decoded(tmp_path / "y.png")[transparent] == 255).all()
        np.testing.assert_array_equal(
            decoded(tmp_path / "y.png")[~transparent], decoded(tmp_path / "x.gif")[~transparent]
        )

    def test_content_counts_and_not_the_name(self, tmp_path):
        Image.fromarray(COLOUR).save(tmp_path / "n02105855_2933.JPEG", format="PNG")
        np.testing.assert_array_equal(decoded(tmp_path / "n02105855_2933.JPEG"), COLOUR)

    def test_orientation_is_left_alone(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(COLOUR).save(tmp_path / "x.png", exif=exif)
        np.testing.assert_array_equal(decoded(tmp_path / "x.png"), COLOUR)


class TestBroken:
    def batch(self, root, *names):
        return Batches(FileImages(root, names), numbers, len(names))[0]

    def test_each_has_a_reason(self, tmp_path, monkeypatch):
        Image.fromarray(COLOUR).save(tmp_path / "good.png")
        Image.fromarray(COLOUR).resize((300, 200)).save(tmp_path / "whole.jpg")
        whole = (tmp_path / "whole.jpg").read_bytes()
        for cut in (0, 3, 200, len(whole) // 2, len(whole) - 20):
            (tmp_path / f"cut{cut}.jpg").write_bytes(whole[:cut])
        png = bytearray((tmp_path / "good.png").read_bytes())
        png[60:80] = bytes(20)
        (tmp_path / "flipped.png").write_bytes(png)
        (tmp_path / "text.jpg").write_text("<html>404</html>")
        Image.new("L", (1, 500)).save(tmp_path / "thin.png")
        Image.new("1", (3000, 3000)).save(tmp_path / "bomb.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
        broken = sorted(path.name for path in tmp_path.iterdir() if path.name not in ("good.png", "whole.jpg"))
        tensors, skipped = self.batch(tmp_path, "good.png", *broken, "gone.png", "good.png")
        np.testing.assert_array_equal(tensors.numpy(), np.stack([COLOUR, COLOUR]))
        assert [each.name for each in skipped] == [*broken, "gone.png"]
        assert [each.index for each in skipped] == list(range(1, len(broken) + 2))
        assert all(each.reason and "\n" not in each.reason for each in skipped)
        reasons = {each.name: each.reason for each in skipped}
        assert "truncated" in reasons[f"cut{len(whole) // 2}.jpg"]
        assert "decompression bomb" in reasons["bomb.png"]
        assert reasons["thin.png"] == "sides of 1 x 500 pixels are too unequal"
        assert reasons["gone.png"] == "No such file or directory"
        assert [isinstance(each, Unreadable) for each in skipped] == [False] * len(broken) + [True]

    def test_warnings_stay_inside(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
        Image.fromarray(COLOUR).save(tmp_path / "x.png")
        tensors, skipped = self.batch(tmp_path, "x.png")
        assert (len(tensors), skipped) == (1, [])

    def test_a_transform_that_fails_is_no_broken_image(self):
        def fails(image):
            raise ZeroDivisionError("oh")

        with pytest.raises(RuntimeError, match="the transform failed on image '0': oh"):
            Batches(ArrayImages(COLOUR[None]), fails, 1)[0]

    def test_batches_cover_everything_once(self):
        images = ArrayImages(np.arange(10, dtype=np.uint8).reshape(10, 1, 1) * np.ones((1, 2, 2), np.uint8))
        for start in (0, 3, 9):
            batches = Batches(images, numbers, 4, start)
            values = [int(tensor[0, 0, 0]) for b in range(len(batches)) for tensor in batches[b][0]]
            assert values == list(range(start, 10))
