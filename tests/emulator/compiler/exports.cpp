// KERNEL(threads) leaves `[[emulated::kernel(threads)]] static void name(...)` in preprocessed text: an attribute that
// the compiler ignores. Names that macros pasted together are whole there.
#include "exports.h"

#include <cctype>

namespace emulated {

bool add_exports(std::string& text, std::string& log) {
    const std::string mark = "[[emulated::kernel(", between = ")]] static void";
    std::string entries = "\n# 1 \"entries\"\n";
    size_t at = 0;
    while ((at = text.find(mark, at)) != std::string::npos) {
        size_t begin = at + mark.size(), end = begin;
        for (int depth = 1; end < text.size(); ++end) {
            if (text[end] == '(') ++depth;
            if (text[end] == ')' && --depth == 0) break;
        }
        std::string bounds = text.substr(begin, end - begin);
        if (text.compare(end, between.size(), between) != 0) {
            log = "error: KERNEL(" + bounds + ") must stand before a name and its parameters";
            return false;
        }
        size_t name = end + between.size();
        // The name may stand on a later line, behind a line marker of the preprocessor.
        while (name < text.size() && (std::isspace(static_cast<unsigned char>(text[name])) || text[name] == '#')) {
            if (text[name] == '#') name = text.find('\n', name);
            if (name != std::string::npos) ++name;
        }
        size_t behind = name;
        while (behind < text.size() && (std::isalnum(static_cast<unsigned char>(text[behind])) || text[behind] == '_'))
            ++behind;
        std::string kernel = text.substr(name, behind - name);
        if (kernel.empty()) {
            log = "error: KERNEL(" + bounds + ") without a name";
            return false;
        }
        entries += "extern \"C\" __attribute__((visibility(\"default\"))) emulated::Entry emulated_entry_" + kernel +
                   " = decltype(emulated::signature(&" + kernel + "))::entry<&" + kernel + ">(\"" + kernel +
                   "\", emulated::launch_bound(" + bounds + "));\n";
        at = behind;
    }
    text += entries;
    return true;
}

}  // namespace emulated
