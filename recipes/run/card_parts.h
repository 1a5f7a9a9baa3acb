// What model cards are made of: Markdown and YAML around names that anybody may have chosen.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::recipes {

/// A YAML scalar: as it is where it can be nothing but that text, else in double quotes with JSON's escapes.
std::string yaml_text(std::string_view text);
/// A model's name where it is one of the hub, ORG/NAME or NAME; empty where it is a folder of this machine.
std::string hub_name(const std::string& name);
/// That, or the last part of the folder: cards carry no path of this machine.
std::string shown_name(const std::string& name);
/// A command in which every path that begins at a root, a home or a folder above is its last part alone.
std::string without_folders(const std::string& command);
/// The front matter of an adapter's card, as PEFT lays it out, and the empty line after it; without base_model where the
/// base is none of the hub.
std::string card_front(const std::string& base, const std::string& pipeline_tag);
/// A text within a paragraph or a cell of a table: one line, in which HTML and a cell's end are escaped.
std::string card_text(std::string_view text);
/// Code within a paragraph, between as many backticks as no run within it has.
std::string card_inline(std::string_view code);
/// A block of code that ends only where the text does.
std::string card_code(std::string_view text);

}  // namespace lowrank::recipes
