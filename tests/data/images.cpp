// Pictures: decoded and resized to Pillow's bytes, preprocessed as transformers does, refused in one sentence.
#include <cmath>
#include <cstring>

#include "catch.h"
#include "errors.h"
#include "lowrank/core/random.h"
#include "lowrank/data/image_set.h"

using namespace lowrank;
using namespace lowrank::data;
using namespace lowrank_test;

namespace {

std::string from_base64(const std::string& text) {
  static const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  unsigned word = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    word = word << 6 | static_cast<unsigned>(letters.find(c));
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(word >> bits & 255U);
  }
  return bytes;
}

const core::Json& golden() {
  static const core::Json json = core::read_json(golden_dir() / "data" / "images.json");
  return json;
}

std::string file(const std::string& name) { return from_base64(golden()["files"][name].get<std::string>()); }

std::string bytes_of(const Image& image) { return {image.pixels.begin(), image.pixels.end()}; }

/// The largest difference of two strings as bytes.
int far(const std::string& a, const std::string& b) {
  REQUIRE(a.size() == b.size());
  int most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<unsigned char>(a[i]) - static_cast<unsigned char>(b[i])));
  return most;
}

ImageProcessor processor(const core::Json& json, std::int64_t channels = 3) {
  return parse_image_processor(core::JsonView(json, "preprocessor_config.json"), channels);
}

/// Class folders under `root`, with these many copies of the golden rgb.png in each.
void make_folders(const fs::path& root, const std::vector<std::pair<std::string, int>>& classes) {
  for (const auto& [name, count] : classes) {
    fs::create_directories(root / name);
    for (int i = 0; i < count; ++i) write_text(root / name / (std::to_string(i) + ".png"), file("rgb.png"));
  }
}

}  // namespace

TEST_CASE("PNG and JPEG give Pillow's pixels, in RGB and in gray", "[parity]") {
  for (const auto& [name, expected] : golden()["decoded"].items()) {
    INFO(name);
    const Image image = decode_image(file(name), name);
    CHECK(image.width == expected["size"][0].get<std::int64_t>());
    CHECK(image.height == expected["size"][1].get<std::int64_t>());
    // PNG is lossless; two versions of libjpeg-turbo may round a JPEG's samples by one, and its conversions by another.
    const int bound = name.find(".png") != std::string::npos ? 0 : 2;
    CHECK(far(bytes_of(with_channels(image, 3)), from_base64(expected["rgb"].get<std::string>())) <= bound);
    // Pillow lets libjpeg give a colour JPEG in gray; a PNG it converts.
    if (image.channels == 1 || bound == 0)
      CHECK(far(bytes_of(with_channels(image, 1)), from_base64(expected["l"].get<std::string>())) <= bound);
  }
  const Image wide = decode_image(file("wide.png"), "wide.png");  // sixteen bits
  CHECK(wide.channels == 1);
  CHECK(wide.pixels.front() == 0);
  CHECK(std::abs(wide.pixels.back() - (29 * 2113 >> 8)) <= 1);
}

TEST_CASE("Resizing gives Pillow's bytes", "[parity]") {
  const Image image = decode_image(file("rgb.png"), "rgb.png");
  for (const core::Json& expected : golden()["resized"]) {
    INFO(expected["size"] << " filter " << expected["filter"]);
    const Image found = resize(image, expected["size"][0].get<std::int64_t>(), expected["size"][1].get<std::int64_t>(),
                               static_cast<Resample>(expected["filter"].get<int>()));
    CHECK(far(bytes_of(found), from_base64(expected["rgb"].get<std::string>())) == 0);
  }
}

TEST_CASE("preprocessor_config.json does what transformers' processors do", "[parity]") {
  const Image image = decode_image(file("rgb.png"), "rgb.png");
  for (const core::Json& expected : golden()["processed"]) {
    INFO(expected["name"]);
    const ImageProcessor read = processor(expected["config"]);
    // And again from what we write of it.
    for (const ImageProcessor& one : {read, processor(core::parse_json(image_processor_json(read), "written"))}) {
      const Image shaped = one.shape(image);
      REQUIRE(shaped.height == expected["shape"][1].get<std::int64_t>());
      REQUIRE(shaped.width == expected["shape"][2].get<std::int64_t>());
      const std::string bytes = from_base64(expected["values"].get<std::string>());
      std::vector<float> values(bytes.size() / 4);
      std::memcpy(values.data(), bytes.data(), bytes.size());
      const auto places = static_cast<std::size_t>(shaped.height * shaped.width);
      double most = 0;
      for (std::size_t c = 0; c < 3; ++c) {
        const std::vector<float> table = one.values(static_cast<std::int64_t>(c));
        for (std::size_t i = 0; i < places; ++i)
          most = std::max<double>(most, std::abs(table[shaped.pixels[3 * i + c]] - values[c * places + i]));
      }
      CHECK(most < 2e-6);
    }
  }
}

TEST_CASE("A preprocessor_config.json that asks for something else is refused", "[unit]") {
  CHECK(contains(message_of<ModelError>([] { processor({{"image_processor_type", "CLIPImageProcessor"}}); }),
                 "CLIPImageProcessor"));
  CHECK(contains(message_of<ModelError>([] { processor({{"resample", 0}}); }), "bicubic"));
  CHECK(contains(message_of<FormatError>([] { processor({{"image_mean", {1, 2}}}); }), "3 channels"));
  CHECK(contains(message_of<FormatError>([] { processor({{"image_std", 0}}); }), "above 0"));
  CHECK(
      contains(message_of<FormatError>([] { processor({{"size", {{"height", 3}, {"width", 4}}}}); }), "shortest_edge"));
  CHECK(contains(message_of<FormatError>([] { processor({{"size", {{"shortest_edge", 0}}}}); }), "size"));
  const TempDir none;
  const ImageProcessor defaults = read_image_processor(none.path(), 1);
  CHECK(*defaults.shortest_edge == 224);
  CHECK(contains(defaults.origin, "no preprocessor_config.json"));
}

TEST_CASE("What is no picture is refused in one sentence", "[unit]") {
  const auto message = [](const std::string& bytes) {
    return message_of<DataError>([&] { decode_image(bytes, "x.png"); });
  };
  CHECK(contains(message("GIF89a"), "neither PNG nor JPEG"));
  CHECK(contains(message(""), "empty"));
  CHECK(contains(message(file("cmyk.jpg")), "CMYK"));
  for (const std::string name : {"rgb.png", "rgb.jpg", "progressive.jpg"}) {
    const std::string whole = file(name);
    for (const std::size_t length : {whole.size() / 2, whole.size() * 3 / 4, std::size_t{30}}) {
      INFO(name << " cut at " << length);
      CHECK(contains(message(whole.substr(0, length)), "broken or cut off"));
    }
  }
  std::string bomb = file("rgb.jpg");  // its frame header claims 65,500 x 65,500
  for (std::size_t i = 0; i + 9 < bomb.size(); ++i) {
    if (bomb[i] != '\xff' || bomb[i + 1] != '\xc0') continue;
    bomb.replace(i + 5, 4, "\xff\xdc\xff\xdc");
    break;
  }
  CHECK(contains(message(bomb), "pixels, more than"));
  Image thin{1, 60000, 1, std::vector<std::uint8_t>(60000)};
  CHECK(contains(message_of<DataError>([&] { processor({{"size", {{"shortest_edge", 224}}}}).shape(thin); }),
                 "resizing"));
}

TEST_CASE("A picture of more pixels than its bytes can hold is refused before memory is taken for them", "[unit]") {
  const auto message = [](const std::string& bytes) {
    return message_of<DataError>([&] { decode_image(bytes, "x.png"); });
  };
  // IHDR's width and height, and its checksum, for 9,000 x 9,000.
  std::string png = file("rgb.png");
  png.replace(16, 8, std::string("\0\0\x23\x28\0\0\x23\x28", 8));
  std::uint32_t sum = 0xFFFFFFFF;
  for (std::size_t i = 12; i < 29; ++i) {
    sum ^= static_cast<unsigned char>(png[i]);
    for (int bit = 0; bit < 8; ++bit) sum = (sum & 1) != 0 ? 0xEDB88320 ^ sum >> 1 : sum >> 1;
  }
  sum = ~sum;
  for (std::size_t i = 0; i < 4; ++i) png[29 + i] = static_cast<char>(sum >> (24 - 8 * i));
  CHECK(contains(message(png), "claims 9,000 x 9,000 pixels, more than its bytes can hold"));
  for (const char* name : {"rgb.jpg", "progressive.jpg"}) {
    std::string jpeg = file(name);
    const std::size_t frame = std::min(jpeg.find("\xFF\xC0"), jpeg.find("\xFF\xC2"));
    REQUIRE(frame != std::string::npos);
    jpeg.replace(frame + 5, 4, "\x23\x28\x23\x28");
    CHECK(contains(message(jpeg), "claims 9,000 x 9,000 pixels, more than its bytes can hold"));
  }
}

TEST_CASE("Damaged pictures end in a picture or a DataError", "[mutation]") {
  const core::RandomStream random(11, "pictures");
  int read = 0, refused = 0;
  for (const auto& [name, text] : golden()["files"].items()) {
    const std::string whole = from_base64(text.get<std::string>());
    for (std::uint64_t round = 0; round < 400; ++round) {
      std::string bytes = whole;
      const std::uint64_t key = round * 64 + static_cast<std::uint64_t>(name.front());
      for (std::uint64_t e = 0; e < 1 + random.below(4, key, 1); ++e) {
        const std::size_t at = random.below(bytes.size(), key, 8 * e + 2);
        switch (random.below(4, key, 8 * e + 3)) {
          case 0:
            bytes[at] = static_cast<char>(random.below(256, key, 8 * e + 4));
            break;
          case 1:
            bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8, key, 8 * e + 4)));
            break;
          case 2:
            bytes.erase(at, 1 + random.below(8, key, 8 * e + 4));
            break;
          default:
            bytes.insert(at, bytes.substr(at, 1 + random.below(8, key, 8 * e + 4)));
        }
        if (bytes.empty()) break;
      }
      try {
        const Image image = decode_image(bytes, name);
        REQUIRE(image.pixels.size() == static_cast<std::size_t>(image.width * image.height * image.channels));
        ++read;
      } catch (const DataError&) {
        ++refused;
      }
    }
  }
  CHECK(read > 100);
  CHECK(refused > 1000);
}

TEST_CASE("Class folders and tables of labels name the same pictures", "[unit]") {
  const TempDir dir;
  make_folders(dir / "set", {{"dog", 3}, {"cat", 2}});
  write_text(dir / "set" / "cat" / "notes.txt", "x");
  write_text(dir / "rows.csv", "path,label\r\nset/cat/0.png,cat\r\n\"set/dog/1.png\",\"dog\"\r\n");
  write_text(dir / "rows.tsv", "set/cat/0.png\tcat\nset/dog/1.png\tdog\n");
  const ImageFiles files = find_images({dir / "set"});
  CHECK(files.labels == std::vector<std::string>{"cat", "dog"});
  CHECK(files.files.size() == 5);
  CHECK(files.files.front().label == "cat");
  CHECK(contains(files.notes.at(0), "1 file"));
  for (const char* table : {"rows.csv", "rows.tsv"}) {
    const ImageFiles rows = find_images({dir / table});
    CHECK(rows.labels == files.labels);
    CHECK(rows.files.at(1).label == "dog");
    CHECK(rows.files.size() == 2);
  }
  const ImageProcessor shape = processor({{"size", {{"shortest_edge", 4}}}});
  const ImageSet set = load_images(files, files.labels, shape, 3);
  CHECK(set.size() == 5);
  CHECK((set.height == 4 && set.width == 4));
  CHECK(set.support() == std::vector<std::int64_t>{2, 3});
  std::vector<float> pixels(3 * 16);
  const std::vector<std::uint32_t> first = {0};
  set.fill(first, pixels.data());
  const Image one = shape.shape(decode_image(file("rgb.png"), "rgb.png"));
  CHECK(pixels[16] == shape.values(1)[one.pixels[1]]);

  CHECK(contains(message_of<DataError>([&] { load_images(files, {"cat", "dogs"}, shape, 3); }), "did you mean 'dogs'"));
  const ImageProcessor as_is = processor({{"do_resize", false}});
  write_text(dir / "set" / "dog" / "9.png", file("wide.png"));
  CHECK(contains(message_of<DataError>([&] { load_images(find_images({dir / "set"}), files.labels, as_is, 3); }),
                 "one size"));
}

TEST_CASE("A folder of train, val and test holds class folders in each, and one part is read", "[unit]") {
  const TempDir dir;
  make_folders(dir / "set" / "train", {{"dog", 3}, {"cat", 2}});
  make_folders(dir / "set" / "val", {{"dog", 1}, {"cat", 1}});
  make_folders(dir / "set" / "test", {{"dog", 2}, {"cat", 2}});
  const ImageFiles train = find_images({dir / "set"});
  CHECK(train.files.size() == 5);
  CHECK(train.labels == std::vector<std::string>{"cat", "dog"});
  CHECK(contains(train.notes.at(0), "train is read, the training part; val is its validation part; test is left alone"));
  CHECK(find_images({dir / "set"}, data::Part::kTest).files.size() == 4);
  CHECK(validation_pictures({dir / "set"}) == std::vector<fs::path>{dir / "set" / "val"});
  // Classes may have such names.
  make_folders(dir / "vehicles", {{"train", 1}, {"test", 1}, {"bus", 1}});
  CHECK(find_images({dir / "vehicles"}).labels.size() == 3);
  CHECK(validation_pictures({dir / "vehicles"}).empty());
}

TEST_CASE("Folders and tables that cannot be meant are refused", "[unit]") {
  const TempDir dir;
  const auto message = [&](const fs::path& path) { return message_of<DataError>([&] { find_images({path}); }); };
  make_folders(dir / "empty", {{"cat", 1}, {"dog", 0}});
  CHECK(contains(message(dir / "empty"), "the class has no picture"));
  make_folders(dir / "flat", {{".", 1}});
  CHECK(contains(message(dir / "flat"), "beside the class folders"));
  fs::create_directories(dir / "nothing");
  CHECK(contains(message(dir / "nothing"), "no picture"));
  write_text(dir / "a.csv", "path,label\n");
  CHECK(contains(message(dir / "a.csv"), "no row"));
  write_text(dir / "b.csv", "x.png\n");
  CHECK(contains(message(dir / "b.csv"), "line 1: expected two fields"));
  write_text(dir / "c.csv", "\"x.png,cat\n");
  CHECK(contains(message(dir / "c.csv"), "never closed"));
  write_text(dir / "d.csv", "x.png,cat\n");
  CHECK(contains(message_of<MissingError>([&] { find_images({dir / "d.csv"}); }), "d.csv line 1: there is no file"));
  CHECK(contains(message_of<MissingError>([&] { find_images({dir / "not-there"}); }), "no such"));
  write_text(dir / "e.png", file("rgb.png"));
  CHECK(contains(message(dir / "e.png"), "class folders"));
}

TEST_CASE("A share of each class is held out, the same for the same seed", "[unit]") {
  const TempDir dir;
  make_folders(dir.path(), {{"a", 10}, {"b", 20}, {"c", 1}});
  const ImageFiles files = find_images({dir.path()});
  const ImageSet all = load_images(files, files.labels, processor({{"size", {{"shortest_edge", 2}}}}), 3);
  const ImageSplit parts = split_images(all, 0.2, 5), again = split_images(all, 0.2, 5),
                   other = split_images(all, 0.2, 6);
  CHECK(parts.validation.support() == std::vector<std::int64_t>{2, 4, 0});
  CHECK(parts.train.size() == 25);
  CHECK(parts.validation.names == again.validation.names);
  CHECK(parts.validation.names != other.validation.names);
  CHECK(parts.train.sha256 != parts.validation.sha256);
  CHECK(contains(split_images(all, 0.01, 5).how, "none"));
}
