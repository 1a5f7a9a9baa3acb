// Addresses of http and https, taken apart by libcurl.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::data::hub {

/// Whether two addresses have the same scheme, host and port.
bool same_origin(const std::string& left, const std::string& right);
/// Whether an address is of this machine.
bool is_loopback(const std::string& url);
/// For messages: scheme, host and path; what stands behind ? may be a signature.
std::string shown_url(const std::string& url);
/// As a part of a path: everything but letters, digits, -._~ and, where `slashes`, / is %XX.
std::string quoted_for_url(std::string_view text, bool slashes);
/// Where a Location that an answer of `url` has leads, whole; empty where it leads nowhere.
std::string url_from(const std::string& url, const std::string& location);

}  // namespace lowrank::data::hub
