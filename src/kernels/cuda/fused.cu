/* Fused programs: how their rows are walked is chosen here, the kernels are compiled at run time.
 */
#include <stdio.h>

#include "kernels/cuda/compiled.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/fused_source.h"
#include "kernels/cuda/host.h"

/* Threads of a block where a row is a block's, and where it is a warp's. */
#define ROW_THREADS  256
#define WARP_THREADS 128
#define FLAT_THREADS 256
/* Columns that a warp walks alone. */
#define WARP_COLUMNS 1024
/* Bytes of a row that a thread keeps in registers. */
#define CACHED_BYTES 128
/* Fewer rows than this leave a GPU idle: long ones are then split. */
#define FEW_ROWS    256
#define CHUNK_LEAST 16384
#define CHUNKS_MOST 1024

struct fused_launch {
    unsigned grid_x, grid_y;
};

struct fused_params {
    int32_t number; /* of the compiled source */
    int32_t n_phases, n_launches;
    int32_t n_inputs, n_outputs;
    int32_t threads;
    int32_t width;    /* of the kernel on vectors; 1: there is none */
    uint32_t aligned; /* bytes that operands must be a multiple of for it */
    fused_launch launches[TC_FUSED_REDUCTIONS + 1];
    struct fused_arguments arguments; /* without pointers */
};

/*
 * Layouts
 */
/* Strides of an input along the axes of the domain, 0 where it is repeated. */
static void find_strides(const tc_fused_input *input, const tc_value_info *info,
                         const tc_shape *domain, int64_t strides[TC_MAX_RANK])
{
    int64_t dense[TC_MAX_RANK];
    tc_shape_strides(&info->shape, dense);
    int32_t first = domain->rank - input->shift - info->shape.rank;
    for (int32_t d = 0; d < domain->rank; d++)
        strides[d] = 0;
    for (int32_t d = 0; d < info->shape.rank; d++)
        if (info->shape.dims[d].size != 1)
            strides[first + d] = dense[d];
}

/* Merges axes [begin, end) of the domain as all inputs allow. */
static int32_t merge(const tc_fused_program *p, const tc_shape *domain,
                     const int64_t (*strides)[TC_MAX_RANK], int32_t begin, int32_t end, int part,
                     struct fused_arguments *a)
{
    int32_t rank = 0;
    for (int32_t d = begin; d < end; d++) {
        int64_t size = domain->dims[d].size;
        if (size == 1)
            continue;
        bool joins = rank > 0;
        for (int32_t i = 0; joins && i < p->n_inputs; i++)
            joins = a->strides[i][part][rank - 1] == strides[i][d] * size;
        rank += !joins;
        a->sizes[part][rank - 1] = joins ? a->sizes[part][rank - 1] * size : size;
        for (int32_t i = 0; i < p->n_inputs; i++)
            a->strides[i][part][rank - 1] = strides[i][d];
    }
    return rank;
}

/* How an input is walked along rows (part 0), whose neighbours are `distance` apart when it is
 * dense, or along columns. */
static fused_axis axis_of(const struct fused_arguments *a, int32_t input, int part, int32_t rank,
                          int64_t distance)
{
    bool one = true;
    for (int32_t d = 0; d < rank; d++)
        one = one && a->strides[input][part][d] == 0;
    if (one)
        return FUSED_ONE;
    int64_t expected = distance;
    for (int32_t d = rank - 1; d >= 0; d--) {
        if (a->strides[input][part][d] != expected)
            return FUSED_LOOPS;
        expected *= a->sizes[part][d];
    }
    return FUSED_DENSE;
}

static void lay_out(const tc_fused_program *p, const tc_value_info *inputs, const tc_shape *domain,
                    fused_shape *s, struct fused_arguments *a)
{
    int64_t strides[TC_FUSED_INPUTS][TC_MAX_RANK] = {};
    int32_t first = s->reduces ? domain->rank - p->columns : 0;
    a->rows = a->columns = a->row_length = 1;
    for (int32_t d = 0; d < domain->rank; d++) {
        int64_t size = domain->dims[d].size;
        *(d < first ? &a->rows : &a->columns) *= size;
        if (d >= domain->rank - p->columns)
            a->row_length *= size;
    }
    for (int32_t i = 0; i < p->n_inputs; i++)
        if (inputs[i].dtype != TC_DTYPE_INVALID)
            find_strides(&p->inputs[i], &inputs[i], domain, strides[i]);
    s->rank[0] = merge(p, domain, strides, 0, first, 0, a);
    s->rank[1] = merge(p, domain, strides, first, domain->rank, 1, a);
    for (int32_t i = 0; i < p->n_inputs; i++) {
        bool full = p->inputs[i].full || !s->reduces;
        s->axis[i][0] = axis_of(a, i, 0, s->rank[0], full ? a->columns : 1);
        s->axis[i][1] = axis_of(a, i, 1, s->rank[1], 1);
        s->step[i] = s->rank[1] > 0 && a->strides[i][1][s->rank[1] - 1] == 1;
    }
}

/*
 * Choices: by the program, the shapes and nothing else
 */
static int64_t largest_element(const tc_fused_program *p)
{
    size_t most = 1;
    for (int32_t i = 0; i < p->n_inputs; i++)
        if (p->inputs[i].full && tc_dtype_size(p->inputs[i].dtype) > most)
            most = tc_dtype_size(p->inputs[i].dtype);
    for (int32_t o = 0; o < p->n_outputs; o++) {
        size_t size = tc_dtype_size(tc_fused_dtype(p, p->outputs[o].value));
        if (p->outputs[o].extent == TC_FUSED_FULL && size > most)
            most = size;
    }
    return static_cast<int64_t>(most);
}

/* Whether groups of `width` columns never cross what inputs repeat. */
static bool divides(const tc_fused_program *p, const fused_shape *s,
                    const struct fused_arguments *a, int32_t width)
{
    bool loops = false;
    for (int32_t i = 0; i < p->n_inputs; i++)
        loops = loops || s->axis[i][1] == FUSED_LOOPS;
    int64_t inner = loops ? a->sizes[1][s->rank[1] - 1] : a->columns;
    return a->columns % width == 0 && inner % width == 0;
}

/* Of one column, in all inputs that are read along the row. */
static int64_t cached_bytes(const tc_fused_program *p)
{
    int64_t bytes = 0;
    for (int32_t i = 0; i < p->n_inputs; i++)
        if (p->inputs[i].full)
            bytes += static_cast<int64_t>(tc_dtype_size(p->inputs[i].dtype));
    return bytes;
}

static void choose_rows(const tc_fused_program *p, fused_shape *s, struct fused_arguments *a)
{
    s->group = a->columns <= WARP_COLUMNS ? 32 : ROW_THREADS;
    s->threads = a->columns <= WARP_COLUMNS ? WARP_THREADS : ROW_THREADS;
    s->split = a->rows < FEW_ROWS && a->columns >= 2 * CHUNK_LEAST && a->rows <= 65535;
    a->chunk = a->columns;
    a->chunks = 1;
    if (s->split) {
        int64_t wanted = (FEW_ROWS * 8 + a->rows - 1) / (a->rows ? a->rows : 1);
        int64_t possible = a->columns / CHUNK_LEAST;
        int64_t chunks = wanted < possible ? wanted : possible;
        chunks = chunks < CHUNKS_MOST ? chunks : CHUNKS_MOST;
        int64_t step = 64; /* a multiple of every width */
        a->chunk = ((a->columns + chunks - 1) / chunks + step - 1) / step * step;
        a->chunks = (a->columns + a->chunk - 1) / a->chunk;
        return;
    }
    /* Rows that are walked several times are kept in registers where they fit. */
    int64_t width = s->vectors ? s->width : 1, pass = s->group * width;
    int64_t kept = (a->columns + pass - 1) / pass * width;
    if (kept > 0 && kept * cached_bytes(p) <= CACHED_BYTES)
        s->cached = static_cast<int32_t>(kept);
}

static tc_status choose_launches(const tc_fused_program *p, const fused_shape *s,
                                 fused_params *params)
{
    struct fused_arguments *a = &params->arguments;
    params->n_launches = a->rows == 0 || (!s->reduces && a->columns == 0) ? 0
                         : s->split                                       ? params->n_phases
                                                                          : 1;
    for (int32_t i = 0; i < params->n_launches; i++) {
        if (!s->reduces) {
            params->launches[i] = {0, 1}; /* by the width, when that is known */
            continue;
        }
        bool last = i == params->n_launches - 1, full = false;
        for (int32_t o = 0; o < p->n_outputs; o++)
            full = full || p->outputs[o].extent == TC_FUSED_FULL;
        int64_t per_block = s->threads / s->group, blocks = (a->rows + per_block - 1) / per_block;
        if (blocks > INT32_MAX)
            return tc_kernel_fail(TC_UNIMPLEMENTED, "more than %lld rows are not supported",
                                  static_cast<long long>(INT32_MAX * per_block));
        params->launches[i] = {static_cast<unsigned>(blocks),
                               static_cast<unsigned>(last && !full ? 1 : a->chunks)};
    }
    return TC_OK;
}

static tc_status compile(const tc_fused_program *p, const fused_shape *s, int32_t device,
                         fused_params *params)
{
    char *source = fused_source(p, s);
    if (!source)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory for a generated kernel");
    tc_status status = tc_cuda_compile(source, device, &params->number);
    tc_cuda_host->release(source);
    return status;
}

static tc_status prepare(tc_prepare *prepare)
{
    tc_fused_program p;
    tc_shape domain;
    fused_params *params =
        static_cast<fused_params *>(tc_prepare_params(prepare, sizeof(fused_params)));
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    const char *problem = tc_fused_read(prepare->attrs, &p);
    bool like = !problem && prepare->inputs[0].dtype != TC_DTYPE_INVALID;
    if (!problem)
        problem = tc_fused_domain(&p, like ? prepare->inputs : NULL, prepare->inputs + 1, &domain);
    if (problem)
        return tc_kernel_fail(TC_INTERNAL, "%s", problem);
    fused_shape s = {};
    struct fused_arguments *a = &params->arguments;
    params->n_phases = fused_phases(&p);
    s.reduces = params->n_phases > 1;
    lay_out(&p, prepare->inputs + 1, &domain, &s, a);
    params->aligned = 16;
    s.width = static_cast<int32_t>(16 / largest_element(&p));
    s.width = s.width > 8 ? 8 : s.width;
    s.vectors = s.width > 1 && divides(&p, &s, a, s.width);
    s.wide = tc_shape_size(&domain) > INT32_MAX;
    s.threads = s.group = FLAT_THREADS;
    if (s.reduces)
        choose_rows(&p, &s, a);
    params->threads = s.threads;
    params->width = s.vectors ? s.width : 1;
    params->n_inputs = p.n_inputs;
    params->n_outputs = p.n_outputs;
    int32_t reductions = 0;
    for (int32_t i = 0; i < p.n_instructions; i++)
        reductions += tc_fused_infos[p.instructions[i].code].kind == TC_FUSED_REDUCE;
    if (s.split)
        prepare->workspace_bytes =
            static_cast<size_t>(reductions * a->rows * a->chunks) * sizeof(double);
    TC_TRY(choose_launches(&p, &s, params));
    return params->n_launches ? compile(&p, &s, prepare->device, params) : TC_OK;
}

/*
 * Running
 */
static bool is_aligned(const fused_params *p, const struct fused_arguments *a)
{
    uintptr_t bits = 0;
    for (int32_t i = 0; i < p->n_inputs; i++)
        bits |= reinterpret_cast<uintptr_t>(a->inputs[i]);
    for (int32_t o = 0; o < p->n_outputs; o++)
        bits |= reinterpret_cast<uintptr_t>(a->outputs[o]);
    return bits % p->aligned == 0;
}

static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const fused_params *p = static_cast<const fused_params *>(params);
    struct fused_arguments a = p->arguments;
    for (int32_t i = 0; i < p->n_inputs; i++)
        a.inputs[i] = inputs[1 + i];
    for (int32_t o = 0; o < p->n_outputs; o++)
        a.outputs[o] = outputs[o];
    a.partials = static_cast<double *>(context->workspace);
    int32_t width = is_aligned(p, &a) ? p->width : 1;
    for (int32_t i = 0; i < p->n_launches; i++) {
        char name[32];
        const void *kernel;
        snprintf(name, sizeof name, "fused_%d_%d", static_cast<int>(i), static_cast<int>(width));
        TC_TRY(tc_cuda_compiled_kernel(p->number, name, &kernel));
        unsigned x = p->launches[i].grid_x;
        if (x == 0)
            x = tc_cuda_blocks(a.columns / width, p->threads, TC_CUDA_MOST_BLOCKS);
        void *arguments[] = {&a};
        TC_CUDA_TRY(cudaLaunchKernel(kernel, dim3(x, p->launches[i].grid_y),
                                     dim3(static_cast<unsigned>(p->threads)), arguments, 0,
                                     context->queue->stream),
                    "launch");
    }
    return TC_OK;
}

static const tc_kernel kernels[] = {TC_CUDA_KERNEL(fused, any, prepare, run)};

TC_CUDA_TABLE(fused, kernels);
