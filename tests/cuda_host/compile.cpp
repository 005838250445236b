/*
 * Kernels that are compiled while a program runs: NVRTC over a C++ compiler, and libraries of
 * kernels. A cubin is a shared library that is linked with the emulation, as bytes.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <regex>
#include <sstream>
#include <vector>

#include "emulation.h"
#include "nvrtc.h"

extern char **environ;

struct _nvrtcProgram {
    std::string source, cubin, log;
};

struct CUkern_st {
    std::string name;
    tc_cuda_host_launcher launch;
};

struct CUlib_st {
    void *handle;
    std::mutex lock;
    std::vector<std::pair<std::string, std::unique_ptr<CUkern_st>>> kernels;
};

namespace cuda_host
{

thread_local const char *launched_name;

/* A folder of its own in that of temporary files, with everything in it removed at the end. */
struct scratch {
    std::string path;
    bool good;
    scratch()
    {
        const char *parent = getenv("TMPDIR");
        path = std::string(parent && *parent ? parent : "/tmp") + "/tensorc_cuda_host.XXXXXX";
        good = mkdtemp(path.data());
    }
    std::string at(const char *name) const
    {
        return path + "/" + name;
    }
    ~scratch()
    {
        if (!good)
            return;
        for (const char *name : {"kernels.cpp", "kernels.o", "kernels.so", "log"})
            (void)unlink(at(name).c_str());
        (void)rmdir(path.c_str());
    }
};

static bool read_file(const std::string &path, std::string *content)
{
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    *content = text.str();
    return file.good();
}

static bool write_file(const std::string &path, const std::string &content)
{
    std::ofstream file(path, std::ios::binary);
    file << content;
    file.close();
    return file.good();
}

/* What instances of one source have in common: every kernel with C linkage, exported. */
static std::string whole_source(const std::string &source)
{
    std::string text = "#include <cuda_runtime.h>\n#line 1 \"generated.cu\"\n" + source + "\n";
    static const std::regex kernel(
        R"(extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^()]*\)\s*)?(\w+)\s*\()");
    for (std::sregex_iterator i(source.begin(), source.end(), kernel), end; i != end; ++i)
        text += "TC_CUDA_HOST_KERNEL(" + (*i)[1].str() + ")\n";
    return text;
}

/* Without a shell; what the program says goes into the file `log`. */
static bool run(const std::vector<std::string> &command, const std::string &log)
{
    std::vector<char *> arguments;
    for (const std::string &word : command)
        arguments.push_back(const_cast<char *>(word.c_str()));
    arguments.push_back(nullptr);
    pid_t child = vfork();
    if (child < 0)
        return false;
    if (child == 0) {
        int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(out, STDERR_FILENO);
        execvpe(arguments[0], arguments.data(), environ);
        _exit(127);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool build(const scratch &folder)
{
    static const char *const options[] = {TC_CUDA_HOST_KERNEL_OPTIONS};
    Dl_info self;
    if (!dladdr(reinterpret_cast<const void *>(&lost), &self))
        return false;
    std::vector<std::string> compile = {TC_CUDA_HOST_CXX, "-std=c++20", "-O1"};
    compile.insert(compile.end(), std::begin(options), std::end(options));
    for (const std::string &word :
         {std::string("-DTC_CUDA_HOST"), std::string("-w"), std::string("-fvisibility=hidden"),
          std::string("-I" TC_CUDA_HOST_INCLUDE), std::string("-c"), folder.at("kernels.cpp"),
          std::string("-o"), folder.at("kernels.o")})
        compile.push_back(word);
    /* Linked apart, so that the compiler does not add the sanitizers' libraries. */
    return run(compile, folder.at("log")) &&
           run({TC_CUDA_HOST_CXX, "-shared", folder.at("kernels.o"), TC_CUDA_HOST_HOOKS,
                self.dli_fname, "-o", folder.at("kernels.so")},
               folder.at("log"));
}

} // namespace cuda_host

using namespace cuda_host;

const char *nvrtcGetErrorString(nvrtcResult result)
{
    switch (result) {
    case NVRTC_SUCCESS: return "NVRTC_SUCCESS";
    case NVRTC_ERROR_OUT_OF_MEMORY: return "NVRTC_ERROR_OUT_OF_MEMORY";
    case NVRTC_ERROR_PROGRAM_CREATION_FAILURE: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
    case NVRTC_ERROR_INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case NVRTC_ERROR_INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
    case NVRTC_ERROR_INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case NVRTC_ERROR_COMPILATION: return "NVRTC_ERROR_COMPILATION";
    case NVRTC_ERROR_INTERNAL_ERROR: return "NVRTC_ERROR_INTERNAL_ERROR";
    }
    return "NVRTC_ERROR unknown";
}

nvrtcResult nvrtcVersion(int *major, int *minor)
{
    *major = CUDART_VERSION / 1000;
    *minor = CUDART_VERSION % 1000 / 10;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *,
                               int n_headers, const char *const *, const char *const *)
{
    *program = nullptr;
    if (!source || n_headers)
        return NVRTC_ERROR_INVALID_INPUT;
    *program = new _nvrtcProgram{source, {}, {}};
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program)
{
    delete *program;
    *program = nullptr;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int, const char *const *)
{
    scratch folder;
    if (!folder.good || !write_file(folder.at("kernels.cpp"), whole_source(program->source)))
        return NVRTC_ERROR_INTERNAL_ERROR;
    bool good = build(folder);
    (void)read_file(folder.at("log"), &program->log);
    if (!good)
        return NVRTC_ERROR_COMPILATION;
    return read_file(folder.at("kernels.so"), &program->cubin) ? NVRTC_SUCCESS
                                                               : NVRTC_ERROR_INTERNAL_ERROR;
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *bytes)
{
    *bytes = program->cubin.size();
    return *bytes ? NVRTC_SUCCESS : NVRTC_ERROR_INVALID_PROGRAM;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *cubin)
{
    memcpy(cubin, program->cubin.data(), program->cubin.size());
    return program->cubin.empty() ? NVRTC_ERROR_INVALID_PROGRAM : NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *bytes)
{
    *bytes = program->log.size() + 1;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *log)
{
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return NVRTC_SUCCESS;
}

/*
 * Libraries
 */
/* The length of a shared library in memory: its section headers are at its end. */
static size_t image_bytes(const void *code)
{
    const ElfW(Ehdr) *head = static_cast<const ElfW(Ehdr) *>(code);
    if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0)
        return 0;
    return head->e_shoff + static_cast<size_t>(head->e_shentsize) * head->e_shnum;
}

cudaError_t cudaLibraryLoadData(cudaLibrary_t *library, const void *code, cudaJitOption *, void **,
                                unsigned int, cudaLibraryOption *, void **, unsigned int)
{
    *library = nullptr;
    size_t bytes = image_bytes(code);
    scratch folder;
    if (bytes == 0)
        return result(cudaErrorInvalidKernelImage);
    if (!folder.good ||
        !write_file(folder.at("kernels.so"), std::string(static_cast<const char *>(code), bytes)))
        return result(cudaErrorUnknown);
    void *handle = dlopen(folder.at("kernels.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fprintf(stderr, "cuda_host: %s\n", dlerror());
        return result(cudaErrorInvalidKernelImage);
    }
    *library = new CUlib_st{handle, {}, {}};
    return cudaSuccess;
}

/* The code stays, as reports may name it and graphs may hold it. */
cudaError_t cudaLibraryUnload(cudaLibrary_t library)
{
    delete library;
    return cudaSuccess;
}

cudaError_t cudaLibraryGetKernel(cudaKernel_t *kernel, cudaLibrary_t library, const char *name)
{
    std::lock_guard<std::mutex> guard(library->lock);
    for (const auto &known : library->kernels)
        if (known.first == name) {
            *kernel = known.second.get();
            return cudaSuccess;
        }
    void *launch = dlsym(library->handle, (std::string("tc_cuda_host_kernel_") + name).c_str());
    if (!launch)
        return result(cudaErrorSymbolNotFound);
    library->kernels.emplace_back(
        name, new CUkern_st{name, reinterpret_cast<tc_cuda_host_launcher>(launch)});
    *kernel = library->kernels.back().second.get();
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arguments,
                             size_t shared_bytes, cudaStream_t stream)
{
    const CUkern_st *k = static_cast<const CUkern_st *>(kernel);
    launched_name = k->name.c_str();
    cudaError_t error = k->launch(arguments, grid, block, shared_bytes, stream);
    launched_name = nullptr;
    return error;
}
