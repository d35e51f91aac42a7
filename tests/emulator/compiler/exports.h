#pragma once
#include <string>

namespace emulated {

// Finds the kernels in preprocessed text and adds behind it what makes them callable by name. False, with a message, if
// one of them cannot be read.
bool add_exports(std::string& text, std::string& log);

}  // namespace emulated
