#include "lowrank/data/image_processor.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

constexpr const char* kFile = "preprocessor_config.json";
constexpr std::int64_t kMaxEdge = 8192;
constexpr std::int64_t kWarpedFrom = 384;  // ConvNext resizes to a square from here on

/// {"height", "width"}, or one number for both.
void read_box(const core::JsonView& json, const char* key, std::int64_t& width, std::int64_t& height) {
  const core::JsonView box = json.at(key);
  if (box.is_number()) {
    width = height = box.as_int(1, kMaxEdge);
    return;
  }
  if (!box.has("height") || !box.has("width")) box.fail("expected {\"height\", \"width\"} or a number");
  height = box.at("height").as_int(1, kMaxEdge);
  width = box.at("width").as_int(1, kMaxEdge);
}

std::vector<double> read_channels(const core::JsonView& json, const char* key, std::vector<double> fallback,
                                  std::int64_t channels) {
  if (!json.has_value(key)) return fallback;
  const core::JsonView value = json.at(key);
  if (value.is_number()) return {value.as_double()};
  std::vector<double> numbers;
  for (std::size_t i = 0; i < value.size(); ++i) numbers.push_back(value.at(i).as_double());
  if (numbers.size() != 1 && numbers.size() != static_cast<std::size_t>(channels))
    value.fail(fmt::format("has {} numbers, and the model's pictures have {} channels", numbers.size(), channels));
  return numbers;
}

Image middle(const Image& image, std::int64_t width, std::int64_t height) {
  if (width > image.width || height > image.height)
    throw DataError(fmt::format("the picture is {} x {} where {} x {} are cut out of it", image.width, image.height,
                                width, height));
  const std::int64_t left = (image.width - width) / 2, top = (image.height - height) / 2;
  Image result{width, height, image.channels, {}};
  for (std::int64_t y = top; y < top + height; ++y) {
    const auto row = image.pixels.begin() + (y * image.width + left) * image.channels;
    result.pixels.insert(result.pixels.end(), row, row + width * image.channels);
  }
  return result;
}

/// The shorter side becomes `edge`, the other keeps the proportion, rounded down.
Image with_shortest(const Image& image, std::int64_t edge, Resample filter) {
  const bool upright = image.width <= image.height;
  const double ratio = upright ? static_cast<double>(edge * image.height) / static_cast<double>(image.width)
                               : static_cast<double>(edge * image.width) / static_cast<double>(image.height);
  const auto longest = static_cast<std::int64_t>(ratio);
  return upright ? resize(image, edge, longest, filter) : resize(image, longest, edge, filter);
}

}  // namespace

Image ImageProcessor::shape(const Image& image) const {
  Image result = image;
  if (do_resize && !shortest_edge) {
    result = resize(image, width, height, resample);
  } else if (do_resize && !crop_pct) {
    result = with_shortest(image, *shortest_edge, resample);
  } else if (do_resize && *shortest_edge >= kWarpedFrom) {
    result = resize(image, *shortest_edge, *shortest_edge, resample);
  } else if (do_resize) {
    const auto edge = static_cast<std::int64_t>(static_cast<double>(*shortest_edge) / *crop_pct);
    result = middle(with_shortest(image, edge, resample), *shortest_edge, *shortest_edge);
  }
  return do_center_crop ? middle(result, crop_width, crop_height) : result;
}

std::vector<float> ImageProcessor::values(std::int64_t channel) const {
  const auto of = [&](const std::vector<double>& numbers) {
    return static_cast<float>(numbers[numbers.size() == 1 ? 0 : static_cast<std::size_t>(channel)]);
  };
  std::vector<float> result(256);
  for (int i = 0; i < 256; ++i) {
    float value = static_cast<float>(i);
    if (do_rescale) value = static_cast<float>(i * rescale_factor);
    if (do_normalize) value = (value - of(image_mean)) / of(image_std);
    result[static_cast<std::size_t>(i)] = value;
  }
  return result;
}

ImageProcessor parse_image_processor(const core::JsonView& json, std::int64_t channels) {
  if (!json.is_object()) json.fail("must be an object");
  const std::string type =
      json.get_string("image_processor_type", json.get_string("feature_extractor_type", "ConvNextImageProcessor"));
  const bool vit = type.starts_with("ViTImageProcessor") || type.starts_with("ViTFeatureExtractor");
  if (!vit && !type.starts_with("ConvNextImageProcessor") && !type.starts_with("ConvNextFeatureExtractor"))
    throw ModelError(
        fmt::format("{}: image_processor_type is '{}'; ConvNextImageProcessor and ViTImageProcessor are "
                    "supported",
                    json.where(), core::printable(type)));
  ImageProcessor result;
  result.origin = kFile;
  result.do_resize = json.get_bool("do_resize", true);
  result.do_rescale = json.get_bool("do_rescale", true);
  result.do_normalize = json.get_bool("do_normalize", true);
  result.rescale_factor = json.get_double("rescale_factor", 1 / 255.0);
  if (!vit) result.crop_pct = json.get_double("crop_pct", 224.0 / 256);
  if (result.crop_pct && !(*result.crop_pct > 0.01 && *result.crop_pct <= 1))
    json.at("crop_pct").fail(fmt::format("expected a share in (0.01, 1], found {}", *result.crop_pct));
  if (!json.has_value("size")) {
    if (vit) result.width = result.height = 224;
    if (!vit) result.shortest_edge = 384;
  } else if (json.at("size").is_number() ? !vit : json.at("size").has("shortest_edge")) {
    const core::JsonView size = json.at("size");
    result.shortest_edge = (size.is_number() ? size : size.at("shortest_edge")).as_int(1, kMaxEdge);
  } else if (vit) {
    read_box(json, "size", result.width, result.height);
  } else {
    json.at("size").fail("a ConvNextImageProcessor needs {\"shortest_edge\"}; fixed sides are ViTImageProcessor's");
  }
  const std::int64_t filter = json.get_int("resample", vit ? 2 : 3, 0, 5);
  if (filter < 1 || filter > 3)
    throw ModelError(fmt::format("{}: resample is {}; 1 (Lanczos), 2 (bilinear) and 3 (bicubic) are supported",
                                 json.where(), filter));
  result.resample = static_cast<Resample>(filter);
  result.do_center_crop = json.get_bool("do_center_crop", false);
  if (result.do_center_crop) read_box(json, "crop_size", result.crop_width, result.crop_height);
  result.image_mean = read_channels(json, "image_mean", {0.5}, channels);
  result.image_std = read_channels(json, "image_std", {0.5}, channels);
  for (const double deviation : result.image_std)
    if (!(deviation > 0)) json.at("image_std").fail(fmt::format("expected numbers above 0, found {}", deviation));
  return result;
}

ImageProcessor read_image_processor(const std::filesystem::path& model, std::int64_t channels) {
  const std::filesystem::path file = model / kFile;
  if (std::filesystem::exists(file)) {
    const core::Json json = core::read_json(file, core::kSettings);
    return parse_image_processor(core::JsonView(json, file.string()), channels);
  }
  ImageProcessor result;
  result.origin = fmt::format("no {} in {}: as Microsoft's ResNets", kFile, model.string());
  result.shortest_edge = 224;
  result.crop_pct = 224.0 / 256;
  result.image_mean = channels == 3 ? std::vector<double>{0.485, 0.456, 0.406} : std::vector<double>{0.5};
  result.image_std = channels == 3 ? std::vector<double>{0.229, 0.224, 0.225} : std::vector<double>{0.5};
  return result;
}

std::string image_processor_json(const ImageProcessor& processor) {
  core::Json json = core::Json::object();
  if (processor.do_center_crop)
    json["crop_size"] = {{"height", processor.crop_height}, {"width", processor.crop_width}};
  const bool convnext = processor.shortest_edge && processor.crop_pct;
  if (convnext) json["crop_pct"] = *processor.crop_pct;
  json["do_center_crop"] = processor.do_center_crop;
  json["do_normalize"] = processor.do_normalize;
  json["do_rescale"] = processor.do_rescale;
  json["do_resize"] = processor.do_resize;
  json["image_mean"] = processor.image_mean;
  json["image_processor_type"] = convnext ? "ConvNextImageProcessor" : "ViTImageProcessor";
  json["image_std"] = processor.image_std;
  json["resample"] = static_cast<int>(processor.resample);
  json["rescale_factor"] = processor.rescale_factor;
  if (processor.shortest_edge)
    json["size"] = {{"shortest_edge", *processor.shortest_edge}};
  else
    json["size"] = {{"height", processor.height}, {"width", processor.width}};
  return core::json_text(json, 2) + "\n";
}

}  // namespace lowrank::data
