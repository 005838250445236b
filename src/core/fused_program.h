/*
 * The program of a fused node: what replaces a group of element-wise operators and reductions along
 * rows. Compilers write it, every device runs it in its own way.
 *
 * A program computes on a domain, the shape that its inputs broadcast to. The last `columns` axes
 * of the domain make up a row. A value is full, one element for each of the domain, or else has one
 * element per row; where a full instruction reads the latter, all elements of the row see the same
 * one. With `columns` 0 there are no rows, and a value that is not full is one element.
 *
 * Values are numbered: inputs first, then constants, then the results of the instructions, which
 * read values of lower numbers only. An instruction is full when one of its operands is; a
 * reduction takes a full operand and gives one element per row.
 *
 * Values of 16-bit floats are computed in f32. They are rounded where they leave the program and
 * where a cast asks for their dtype, nowhere else.
 *
 * As attributes of a node: "program" holds
 *     columns, inputs, constants, instructions, outputs (their numbers),
 *     per input dtype, shift, full; per constant dtype; per instruction code, dtype and three
 *     operands (-1: none); per output value and extent
 * and "constants" the numbers. Codes are those of the library that wrote the program: programs are
 * made anew wherever a graph is compiled and never kept in files.
 */
#ifndef TC_CORE_FUSED_PROGRAM_H
#define TC_CORE_FUSED_PROGRAM_H

#include <tensorc/extend.h>

#include "base/text.h"

#define TC_FUSED_INPUTS       16
#define TC_FUSED_CONSTANTS    16
#define TC_FUSED_INSTRUCTIONS 64
#define TC_FUSED_OUTPUTS      8
#define TC_FUSED_REDUCTIONS   8
/** The first inputs, whose memory output 0 may take; not given when it has one element per row. */
#define TC_FUSED_TAKEN  4
#define TC_FUSED_VALUES (TC_FUSED_INPUTS + TC_FUSED_CONSTANTS + TC_FUSED_INSTRUCTIONS)
/** Ints of the longest program. */
#define TC_FUSED_INTS                                                           \
    (5 + 3 * TC_FUSED_INPUTS + TC_FUSED_CONSTANTS + 5 * TC_FUSED_INSTRUCTIONS + \
     2 * TC_FUSED_OUTPUTS)

typedef enum tc_fused_code {
#define TC_FUSED(code, kind, dtypes, text) TC_FUSED_##code,
#include "core/fused_codes.def"
#undef TC_FUSED
    TC_FUSED_CODES
} tc_fused_code;

typedef enum tc_fused_kind {
    TC_FUSED_UNARY,
    TC_FUSED_BINARY,
    TC_FUSED_COMPARE,
    TC_FUSED_WHERE,
    TC_FUSED_CAST,
    TC_FUSED_SHARE,
    TC_FUSED_REDUCE
} tc_fused_kind;

typedef struct tc_fused_info {
    const char *name;
    tc_fused_kind kind;
    uint32_t dtypes;
    const char *text;
    int operands;
} tc_fused_info;

extern const tc_fused_info tc_fused_infos[TC_FUSED_CODES];

/** Shape of an output. */
typedef enum tc_fused_extent {
    TC_FUSED_FULL, /**< the domain */
    TC_FUSED_KEPT, /**< one element per row, the axes of the columns with size 1 */
    TC_FUSED_ROWS  /**< one element per row, without the axes of the columns */
} tc_fused_extent;

typedef struct tc_fused_input {
    tc_dtype dtype; /**< TC_DTYPE_INVALID: not given, nothing reads it */
    int32_t shift; /**< axes of the domain behind the last one of the input, where it is repeated */
    bool full;     /**< false: its sizes along the columns are 1; without columns: all of them */
} tc_fused_input;

typedef struct tc_fused_constant {
    tc_dtype dtype;
    double value;
} tc_fused_constant;

typedef struct tc_fused_instruction {
    tc_fused_code code;
    tc_dtype dtype; /**< of the result */
    int32_t operands[3];
} tc_fused_instruction;

typedef struct tc_fused_output {
    int32_t value;
    tc_fused_extent extent;
} tc_fused_output;

typedef struct tc_fused_program {
    int32_t columns;
    int32_t n_inputs, n_constants, n_instructions, n_outputs;
    tc_fused_input inputs[TC_FUSED_INPUTS];
    tc_fused_constant constants[TC_FUSED_CONSTANTS];
    tc_fused_instruction instructions[TC_FUSED_INSTRUCTIONS];
    tc_fused_output outputs[TC_FUSED_OUTPUTS];
} tc_fused_program;

static inline int32_t tc_fused_values(const tc_fused_program *program)
{
    return program->n_inputs + program->n_constants + program->n_instructions;
}

/** The instruction that computes `value`, NULL for inputs and constants. */
static inline const tc_fused_instruction *tc_fused_producer(const tc_fused_program *program,
                                                            int32_t value)
{
    int32_t first = program->n_inputs + program->n_constants;
    return value < first ? NULL : &program->instructions[value - first];
}

static inline tc_dtype tc_fused_dtype(const tc_fused_program *program, int32_t value)
{
    if (value < program->n_inputs)
        return program->inputs[value].dtype;
    const tc_fused_instruction *instruction = tc_fused_producer(program, value);
    return instruction ? instruction->dtype : program->constants[value - program->n_inputs].dtype;
}

/** Code of the operator `op` with these attributes, -1 when programs have none. Thread-safe. */
int tc_fused_code_of(const tc_attrs *attrs);

/** Fills full[value] for every value of a program that is valid. */
void tc_fused_extents(const tc_fused_program *program, bool full[TC_FUSED_VALUES]);

/** NULL, or what is wrong with the program. Thread-safe. */
const char *tc_fused_verify(const tc_fused_program *program);

/** Reads and verifies the program of a node: NULL, or what is wrong with it. */
const char *tc_fused_read(const tc_attrs *attrs, tc_fused_program *program);

/** Writes the ints of a valid program; returns how many. */
int32_t tc_fused_write(const tc_fused_program *program, int64_t ints[TC_FUSED_INTS]);

/**
 * The domain of the inputs, a zeroed rank for inputs that are not given (`like`, optional, gives
 * only its shape). NULL, or what is wrong; the domain may have unknown dimensions.
 */
const char *tc_fused_domain(const tc_fused_program *program, const tc_value_info *like,
                            const tc_value_info *inputs, tc_shape *domain);

/** Shape of output `output`. */
tc_shape tc_fused_output_shape(const tc_fused_program *program, int32_t output,
                               const tc_shape *domain);

/**
 * Appends the program as text, "relu(a * b + c)": given inputs are a, b, c ..., values that are
 * used more than once get names of their own, outputs are separated by commas.
 */
void tc_fused_program_print(const tc_fused_program *program, tc_text *text);

#endif
