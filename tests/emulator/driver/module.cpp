// Modules and functions. Loading a module builds its text (or finds it built) in the calling thread's mode and opens
// it.
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>

#include "../compiler/build.h"
#include "driver.h"

namespace emulated {

namespace {

// An image for sm_86 runs on 8.6 to 8.9; one for sm_90a on 9.0 alone.
CUresult check_architecture(const std::string& architecture) {
    const emulator_device& device = Session::mine().device;
    bool ptx = architecture.rfind("compute_", 0) == 0;
    int number = std::atoi(architecture.c_str() + (ptx ? 8 : 3));
    int have = device.major * 10 + device.minor;
    if (device.driver < 13000) return ptx ? UNSUPPORTED_PTX_VERSION : INVALID_IMAGE;
    bool exact = !std::isdigit(static_cast<unsigned char>(architecture.back()));
    if (exact) return number == have ? SUCCESS : NO_BINARY_FOR_GPU;
    if (ptx) return number <= have ? SUCCESS : NO_BINARY_FOR_GPU;
    return number / 10 == have / 10 && number <= have ? SUCCESS : NO_BINARY_FOR_GPU;
}

// Where the loader has put the module, from its first to behind its last byte.
void find_code(Module& module) {
    link_map* map = nullptr;
    dlinfo(module.library, RTLD_DI_LINKMAP, &map);
    struct Search {
        Module& module;
        uintptr_t base;
    } search{module, map->l_addr};
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* data) {
            Search& search = *static_cast<Search*>(data);
            if (info->dlpi_addr != search.base) return 0;
            uintptr_t end = 0;
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const ElfW(Phdr) & part = info->dlpi_phdr[i];
                if (part.p_type == PT_LOAD) end = std::max<uintptr_t>(end, part.p_vaddr + part.p_memsz);
            }
            search.module.code_begin = reinterpret_cast<const char*>(search.base);
            search.module.code_end = search.module.code_begin + end;
            return 1;
        },
        &search);
}

CUresult load(Module** handle, const void* data) {
    if (!data) return INVALID_VALUE;
    Image image;
    if (read_image(data, image) != ImageFault::none) return INVALID_IMAGE;
    if (CUresult refused = check_architecture(image.architecture)) return refused;
    bool instrumented = Session::mine().instruments();
    Built built = build_module(image.text, instrumented);
    if (!built.ok) {
        Session::mine().report = "the module does not compile in this mode:\n" + built.log;
        return INVALID_IMAGE;
    }
    void* library = dlopen(built.path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        Session::mine().report = std::string("the module does not load: ") + dlerror();
        return INVALID_IMAGE;
    }
    Module* module = modules.add(new Module());
    module->library = library;
    module->path = built.path;
    module->instrumented = instrumented;
    find_code(*module);
    ++Session::mine().counters.module_loads;
    *handle = module;
    return SUCCESS;
}

}  // namespace

}  // namespace emulated

using namespace emulated;

API cuModuleLoadData(Module** module, const void* image) {
    ENTER(CONTEXT)
    return load(module, image);
}

// The options are about compiling PTX and where its log goes: nothing to do.
API cuModuleLoadDataEx(Module** module, const void* image, unsigned, int*, void**) {
    ENTER(CONTEXT)
    return load(module, image);
}

API cuModuleUnload(Module* module) {
    ENTER(CONTEXT)
    if (!modules.remove(module)) return INVALID_HANDLE;
    for (Function* function : module->functions) {
        functions.remove(function);
        delete function;
    }
    dlclose(module->library);
    delete module;
    return SUCCESS;
}

API cuModuleGetFunction(Function** handle, Module* module, const char* name) {
    ENTER(CONTEXT)
    if (!modules.has(module)) return INVALID_HANDLE;
    for (Function* function : module->functions) {
        if (std::strcmp(function->entry->name, name) == 0) {
            *handle = function;
            return SUCCESS;
        }
    }
    void* entry = dlsym(module->library, (std::string("emulated_entry_") + name).c_str());
    if (!entry) return NOT_FOUND;
    Function* function = functions.add(new Function{module, static_cast<const Entry*>(entry)});
    module->functions.push_back(function);
    *handle = function;
    return SUCCESS;
}

API cuFuncGetAttribute(int* value, int attribute, Function* function) {
    ENTER(CONTEXT)
    if (!functions.has(function)) return INVALID_HANDLE;
    switch (attribute) {
        case 0: *value = static_cast<int>(function->entry->threads); break;
        case 1: *value = static_cast<int>(function->static_bytes); break;
        case 2:
        case 3: *value = 0; break;   // constant memory; local memory, which only the real compiler knows
        case 4: *value = 32; break;  // registers: likewise
        case 5:
        case 6: *value = Session::mine().device.major * 10 + Session::mine().device.minor; break;
        case 8: *value = static_cast<int>(function->dynamic_limit); break;
        default: *value = 0;
    }
    return SUCCESS;
}

API cuFuncSetAttribute(Function* function, int attribute, int value) {
    ENTER(CONTEXT)
    if (!functions.has(function)) return INVALID_HANDLE;
    if (attribute != 8) return attribute == 9 ? SUCCESS : INVALID_VALUE;
    size_t most = static_cast<size_t>(device_attribute(SHARED_OF_A_BLOCK_THAT_ASKS));
    if (value < 0 || static_cast<size_t>(value) + function->static_bytes > most) return INVALID_VALUE;
    function->dynamic_limit = static_cast<size_t>(value);
    return SUCCESS;
}

API cuFuncSetCacheConfig(Function* function, int) {
    ENTER(CONTEXT)
    return functions.has(function) ? SUCCESS : INVALID_HANDLE;
}

// Where parameter `index` lies in the kernel's parameter block; none behind the last.
API cuFuncGetParamInfo(Function* function, size_t index, size_t* offset, size_t* size) {
    ENTER(CONTEXT)
    if (!functions.has(function)) return INVALID_HANDLE;
    const Entry& entry = *function->entry;
    if (index >= entry.parameters) return INVALID_VALUE;
    size_t at = 0;
    for (size_t i = 0;; ++i) {
        at = (at + entry.alignments[i] - 1) / entry.alignments[i] * entry.alignments[i];
        if (i == index) break;
        at += entry.sizes[i];
    }
    *offset = at;
    if (size) *size = entry.sizes[index];
    return SUCCESS;
}

API cuFuncGetName(const char** name, Function* function) {
    ENTER(CONTEXT)
    if (!functions.has(function)) return INVALID_HANDLE;
    *name = function->entry->name;
    return SUCCESS;
}
