// The stand-in for libnvrtc: compiling runs the host's compiler, so a kernel that is no C++ fails here with its
// message; what comes out is an image that the driver's stand-in loads.
#include <cstring>
#include <string>
#include <vector>

#include "../runtime/session.h"
#include "build.h"

using emulated::NamedText;

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_INPUT = 3,
    INVALID_PROGRAM = 4,
    INVALID_OPTION = 5,
    COMPILATION = 6,
    INTERNAL_ERROR = 11
};

const int ARCHITECTURES[] = {75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121};

struct Program {
    NamedText text;
    std::vector<NamedText> headers;
    std::string log, image, ptx;
};

bool starts_with(const std::string& word, const char* start) { return word.rfind(start, 0) == 0; }

// sm_90, sm_90a, compute_90: 90; 0 if there is no such architecture.
int number_of(const std::string& architecture) {
    size_t digits = starts_with(architecture, "sm_") ? 3 : starts_with(architecture, "compute_") ? 8 : 0;
    if (digits == 0) return 0;
    std::string rest = architecture.substr(digits);
    if (!rest.empty() && (rest.back() == 'a' || rest.back() == 'f')) rest.pop_back();
    for (int known : ARCHITECTURES) {
        if (rest == std::to_string(known)) return known;
    }
    return 0;
}

struct Options {
    std::string architecture = "compute_75";
    std::vector<std::string> definitions;
};

// Options that mean nothing on the host.
bool ignored(const std::string& option) {
    for (const char* known : {"--std=",
                              "-std=",
                              "-default-device",
                              "--device-as-default-execution-space",
                              "-lineinfo",
                              "--generate-line-info",
                              "--ptxas-options=",
                              "-Xptxas",
                              "--maxrregcount=",
                              "--fmad=",
                              "--ftz=",
                              "--prec-div=",
                              "--prec-sqrt=",
                              "--extra-device-vectorization",
                              "--restrict",
                              "-w",
                              "--disable-warnings",
                              "--diag-suppress=",
                              "-diag-suppress=",
                              "--relocatable-device-code=false"}) {
        if (starts_with(option, known)) return true;
    }
    return false;
}

int read_options(Program& program, int count, const char* const* words, Options& options) {
    auto refuse = [&](const std::string& option) {
        program.log = "nvrtc: error: invalid value or unrecognized option: " + option + "\n";
        return INVALID_OPTION;
    };
    for (int i = 0; i < count; ++i) {
        std::string option = words[i];
        auto value = [&]() -> std::string {
            size_t equals = option.find('=');
            if (equals != std::string::npos) return option.substr(equals + 1);
            return i + 1 < count ? words[++i] : "";
        };
        if (starts_with(option, "--gpu-architecture") || starts_with(option, "-arch")) {
            options.architecture = value();
            if (number_of(options.architecture) == 0) return refuse(words[i]);
        } else if (starts_with(option, "--define-macro")) {
            options.definitions.push_back(value());
        } else if (starts_with(option, "-D")) {
            options.definitions.push_back(option.size() > 2 ? option.substr(2) : value());
        } else if (!ignored(option)) {
            return refuse(option);
        }
    }
    return SUCCESS;
}

int copy_out(const std::string& text, char* to) {
    std::memcpy(to, text.c_str(), text.size() + 1);
    return SUCCESS;
}

}  // namespace

// An ordered failure comes before anything else.
#define ENTER() \
    if (int planned = emulator_planned_failure(__func__)) return planned

extern "C" {

int nvrtcVersion(int* major, int* minor) {
    ENTER();
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

int nvrtcGetNumSupportedArchs(int* count) {
    ENTER();
    *count = sizeof(ARCHITECTURES) / sizeof(ARCHITECTURES[0]);
    return SUCCESS;
}

int nvrtcGetSupportedArchs(int* architectures) {
    ENTER();
    std::memcpy(architectures, ARCHITECTURES, sizeof(ARCHITECTURES));
    return SUCCESS;
}

const char* nvrtcGetErrorString(int result) {
    static const char* const NAMES[] = {"NVRTC_SUCCESS",
                                        "NVRTC_ERROR_OUT_OF_MEMORY",
                                        "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
                                        "NVRTC_ERROR_INVALID_INPUT",
                                        "NVRTC_ERROR_INVALID_PROGRAM",
                                        "NVRTC_ERROR_INVALID_OPTION",
                                        "NVRTC_ERROR_COMPILATION",
                                        "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
                                        "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
                                        "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
                                        "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
                                        "NVRTC_ERROR_INTERNAL_ERROR"};
    return result >= 0 && result <= INTERNAL_ERROR ? NAMES[result] : "NVRTC_ERROR unknown";
}

int nvrtcCreateProgram(Program** program, const char* source, const char* name, int count, const char* const* headers,
                       const char* const* names) {
    ENTER();
    if (!program || !source || count < 0 || (count > 0 && (!headers || !names))) return INVALID_INPUT;
    *program = new Program();
    (*program)->text = {name && *name ? name : "default_program", source};
    for (int i = 0; i < count; ++i) (*program)->headers.push_back({names[i], headers[i]});
    return SUCCESS;
}

int nvrtcDestroyProgram(Program** program) {
    if (!program || !*program) return INVALID_PROGRAM;
    delete *program;
    *program = nullptr;
    return SUCCESS;
}

int nvrtcCompileProgram(Program* program, int count, const char* const* words) {
    ENTER();
    if (!program) return INVALID_PROGRAM;
    program->log.clear();
    Options options;
    if (int refused = read_options(*program, count, words, options)) return refused;
    int number = number_of(options.architecture);
    options.definitions.push_back("__CUDA_ARCH__=" + std::to_string(number * 10));
    options.definitions.push_back("__CUDACC__=1");
    emulator_count_compilation();
    emulated::Preprocessed preprocessed = emulated::preprocess(program->text, program->headers, options.definitions);
    program->log = preprocessed.log;
    if (!preprocessed.ok) return COMPILATION;
    // Built now as well, so that an error shows here, as it would with the real compiler.
    emulated::Built built = emulated::build_module(preprocessed.text, emulator_instruments());
    program->log += built.log;
    if (!built.ok) return COMPILATION;
    bool ptx = starts_with(options.architecture, "compute_");
    std::string image = emulated::image_of(options.architecture, preprocessed.text);
    program->image = ptx ? "" : image;
    program->ptx = ptx ? image : emulated::image_of("compute_" + std::to_string(number), preprocessed.text);
    return SUCCESS;
}

int nvrtcGetProgramLogSize(Program* program, size_t* size) {
    if (!program) return INVALID_PROGRAM;
    *size = program->log.size() + 1;
    return SUCCESS;
}
int nvrtcGetProgramLog(Program* program, char* log) { return program ? copy_out(program->log, log) : INVALID_PROGRAM; }

// The zero byte behind the text belongs to the image: the driver is given no length.
int nvrtcGetCUBINSize(Program* program, size_t* size) {
    ENTER();
    if (!program) return INVALID_PROGRAM;
    *size = program->image.empty() ? 0 : program->image.size() + 1;
    return SUCCESS;
}
int nvrtcGetCUBIN(Program* program, char* cubin) {
    ENTER();
    if (!program || program->image.empty()) return INVALID_PROGRAM;
    return copy_out(program->image, cubin);
}

int nvrtcGetPTXSize(Program* program, size_t* size) {
    if (!program || program->ptx.empty()) return INVALID_PROGRAM;
    *size = program->ptx.size() + 1;
    return SUCCESS;
}
int nvrtcGetPTX(Program* program, char* ptx) {
    return program && !program->ptx.empty() ? copy_out(program->ptx, ptx) : INVALID_PROGRAM;
}

// Our kernels are extern "C": their names need no lowering.
int nvrtcAddNameExpression(Program* program, const char*) { return program ? SUCCESS : INVALID_PROGRAM; }
int nvrtcGetLoweredName(Program*, const char* expression, const char** name) {
    *name = expression;
    return SUCCESS;
}

}  // extern "C"
