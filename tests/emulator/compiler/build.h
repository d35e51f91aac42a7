// Building a kernel's text with the host's compiler. Lives in the driver's stand-in, which builds a module when it is
// loaded: so an image that was compiled in one mode (plain, checked) serves in the other one too.
#pragma once
#include <string>
#include <vector>

namespace emulated {

struct Built {
    bool ok = false;
    std::string path;  // of the shared object
    std::string log;
};

// Compiles preprocessed text to a shared object, or finds it already compiled.
Built build_module(const std::string& text, bool instrumented);

struct Preprocessed {
    bool ok = false;
    std::string text, log;
};

struct NamedText {
    std::string name, text;
};

// Runs the preprocessor over a program and its headers and adds the entries of its kernels. `definitions` are
// NAME=VALUE.
Preprocessed preprocess(const NamedText& program, const std::vector<NamedText>& headers,
                        const std::vector<std::string>& definitions);

// What the compiler hands over and the driver loads: a line that tells architecture, size and hash, then preprocessed
// text.
std::string image_of(const std::string& architecture, const std::string& text);
struct Image {
    std::string architecture, text;
};
enum class ImageFault { none, no_image, damaged };
ImageFault read_image(const void* data, Image& image);

}  // namespace emulated
