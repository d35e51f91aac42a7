#include "build.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "exports.h"

#ifndef EMULATOR_INCLUDE
#error "EMULATOR_INCLUDE names the folder of emulated.h"
#endif

namespace emulated {

namespace {

constexpr const char* MAGIC = "emulated-cubin-1";

// The folder that this library lies in; what it builds is kept beside it.
const std::string& home() {
    static const std::string folder = [] {
        Dl_info info;
        dladdr(reinterpret_cast<const void*>(&image_of), &info);
        std::string path = info.dli_fname;
        return path.substr(0, path.rfind('/'));
    }();
    return folder;
}

std::string hash_of(const std::string& text) {
    // FNV-1a, twice with different starts, to 128 bits.
    uint64_t low = 0xcbf29ce484222325ull, high = 0x84222325cbf29ce4ull;
    for (unsigned char c : text) {
        low = (low ^ c) * 0x100000001b3ull;
        high = (high ^ c) * 0x100000001b3ull + (low >> 32);
    }
    char words[40];
    std::snprintf(words, sizeof(words), "%016" PRIx64 "%016" PRIx64, high, low);
    return words;
}

std::string quoted(const std::string& word) {
    std::string result = "'";
    for (char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
}

bool exists(const std::string& path) { return access(path.c_str(), R_OK) == 0; }

bool read_file(const std::string& path, std::string& text) {
    FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) return false;
    char buffer[1 << 16];
    text.clear();
    for (size_t count; (count = std::fread(buffer, 1, sizeof(buffer), file)) > 0;) text.append(buffer, count);
    std::fclose(file);
    return true;
}

bool write_file(const std::string& path, const std::string& text) {
    FILE* file = std::fopen(path.c_str(), "wb");
    if (!file) return false;
    bool ok = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    return std::fclose(file) == 0 && ok;
}

// Runs a command and gathers what it prints.
bool run(const std::string& command, std::string& output) {
    FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    if (!pipe) return false;
    char buffer[4096];
    for (size_t count; (count = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, count);
    return pclose(pipe) == 0;
}

// A name that no other thread or process uses.
std::string unique() {
    static std::atomic<unsigned> count{0};
    return std::to_string(getpid()) + "-" + std::to_string(count++);
}

// A folder that is removed at the end.
struct Scratch {
    std::string path = home() + "/scratch-" + unique();
    Scratch() { mkdir(path.c_str(), 0777); }
    ~Scratch() {
        std::string ignored;
        run("rm -rf " + quoted(path), ignored);
    }
};

const std::string& compiler() {
    static const std::string name = [] {
        const char* chosen = std::getenv("CXX");
        return std::string(chosen && *chosen ? chosen : "g++");
    }();
    return name;
}

// For the processor at hand where that pays; nothing may be fused that the text does not fuse.
std::string common_flags() {
    std::string flags =
        " -std=c++17 -w -fPIC -fvisibility=hidden -ffp-contract=off -fno-strict-aliasing -fno-math-errno "
        "-fno-exceptions";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) flags += " -mavx2 -mfma";
    return flags;
}

// A checked module: every access calls a function of runtime/hooks.cpp.
const char* const INSTRUMENTED =
    " -O1 -g1 -fsanitize=thread --param tsan-instrument-func-entry-exit=0 -fsanitize=bounds-strict,alignment,shift";
const char* const PLAIN = " -O2";

bool make_folders(const std::string& root, const std::string& name) {
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
        mkdir((root + "/" + name.substr(0, slash)).c_str(), 0777);
    }
    return name.find("..") == std::string::npos && !name.empty() && name[0] != '/';
}

}  // namespace

Built build_module(const std::string& text, bool instrumented) {
    Built built;
    std::string flags = common_flags() + (instrumented ? INSTRUMENTED : PLAIN);
    std::string name = hash_of(compiler() + flags + "\n" + text);
    built.path = home() + "/modules/" + name + ".so";
    if (exists(built.path)) {
        built.ok = true;
        return built;
    }
    mkdir((home() + "/modules").c_str(), 0777);
    Scratch scratch;
    write_file(scratch.path + "/program.ii", text);
    std::string enter = "cd " + quoted(scratch.path) + " && ";
    // Linked without the sanitizers' own libraries: their functions are ours.
    if (!run(enter + compiler() + flags + " -fpreprocessed -c program.ii -o program.o", built.log) ||
        !run(enter + compiler() + " -shared -Wl,-Bsymbolic program.o -o program.so", built.log)) {
        return built;
    }
    built.ok = std::rename((scratch.path + "/program.so").c_str(), built.path.c_str()) == 0;
    return built;
}

Preprocessed preprocess(const NamedText& program, const std::vector<NamedText>& headers,
                        const std::vector<std::string>& definitions) {
    std::string everything = compiler() + "\n" + program.name + "\n" + program.text;
    for (const NamedText& header : headers) everything += "\n" + header.name + "\n" + header.text;
    for (const std::string& definition : definitions) everything += "\n" + definition;
    std::string kept = home() + "/modules/" + hash_of(everything) + ".ii";
    Preprocessed result;
    if (read_file(kept, result.text)) {
        result.ok = true;
        return result;
    }
    mkdir((home() + "/modules").c_str(), 0777);
    // Names relative to the scratch folder: the text must not depend on where it was.
    Scratch scratch;
    mkdir((scratch.path + "/source").c_str(), 0777);
    auto put = [&](const NamedText& text) {
        return make_folders(scratch.path + "/source", text.name) &&
               write_file(scratch.path + "/source/" + text.name, text.text);
    };
    bool written = put(program);
    for (const NamedText& header : headers) written = written && put(header);
    if (!written) {
        result.log = "emulator: a program or header has a name that is no relative path";
        return result;
    }
    std::string command = "cd " + quoted(scratch.path) + " && " + compiler() + " -std=c++17 -w -E -x c++ -include " +
                          quoted(std::string(EMULATOR_INCLUDE) + "/emulated.h") + " -I source";
    for (const std::string& definition : definitions) command += " -D" + quoted(definition);
    command += " " + quoted("source/" + program.name) + " -o program.ii";
    if (!run(command, result.log) || !read_file(scratch.path + "/program.ii", result.text)) return result;
    result.ok = add_exports(result.text, result.log);
    if (result.ok && write_file(scratch.path + "/kept", result.text)) {
        std::rename((scratch.path + "/kept").c_str(), kept.c_str());
    }
    return result;
}

std::string image_of(const std::string& architecture, const std::string& text) {
    return std::string(MAGIC) + " " + architecture + " " + std::to_string(text.size()) + " " + hash_of(text) + "\n" +
           text;
}

ImageFault read_image(const void* data, Image& image) {
    const char* line = static_cast<const char*>(data);
    if (std::strncmp(line, MAGIC, std::strlen(MAGIC)) != 0) return ImageFault::no_image;
    char architecture[32], hash[40];
    size_t size;
    if (std::sscanf(line + std::strlen(MAGIC), " %31s %zu %39s", architecture, &size, hash) != 3)
        return ImageFault::damaged;
    const char* end = std::strchr(line, '\n');
    if (!end) return ImageFault::damaged;
    image.architecture = architecture;
    // A shorter text ends where its zero byte is, or is not the one that was hashed.
    image.text.assign(end + 1, strnlen(end + 1, size));
    return image.text.size() == size && hash_of(image.text) == hash ? ImageFault::none : ImageFault::damaged;
}

}  // namespace emulated
