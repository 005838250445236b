/* Files whose checksums are right and that say what no program would. */
#include "serialize/files.h"
#include "serialize/samples.h"

#include "serialize/graph_file.h"

static char folder[TEST_PATH_SIZE];
static char path[TEST_PATH_SIZE];

static int setup(void **state)
{
    test_folder_create(folder);
    test_path(path, folder, "file");
    return 0;
}

static int teardown(void **state)
{
    test_folder_remove(folder);
    return 0;
}

typedef struct hostile_graph {
    void (*change)(Tensorc__Graph *graph);
    tc_status status;
    const char *error;
} hostile_graph;

static Tensorc__Node *node_of(Tensorc__Graph *graph, const char *op)
{
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (strcmp(graph->nodes[i]->op, op) == 0)
            return graph->nodes[i];
    fail_msg("no node %s", op);
    return NULL;
}

static Tensorc__Attribute *attribute_of(Tensorc__Node *node, const char *name)
{
    for (size_t i = 0; i < node->n_attributes; i++)
        if (strcmp(node->attributes[i]->name, name) == 0)
            return node->attributes[i];
    fail_msg("no attribute %s", name);
    return NULL;
}

static Tensorc__Function *function_of(Tensorc__Graph *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_functions; i++)
        if (strcmp(graph->functions[i]->name, name) == 0)
            return graph->functions[i];
    fail_msg("no function %s", name);
    return NULL;
}

/* Messages lie in an arena, so that changes need not free. */
static void set(char **text, const char *to)
{
    *text = (char *)(uintptr_t)to;
}

#define CHANGE(name) static void name(Tensorc__Graph *graph)

CHANGE(unknown_op)
{
    set(&node_of(graph, "dropout")->op, "dropuot");
}
CHANGE(newer_op)
{
    node_of(graph, "dropout")->version = 77;
}
CHANGE(no_version)
{
    node_of(graph, "dropout")->version = 0;
}
CHANGE(unknown_attribute)
{
    set(&attribute_of(node_of(graph, "dropout"), "rate")->name, "ratio");
}
CHANGE(missing_required)
{
    node_of(graph, "placeholder")->n_attributes = 0;
}
CHANGE(wrong_type)
{
    attribute_of(node_of(graph, "placeholder"), "dtype")->value_case = TENSORC__ATTRIBUTE__VALUE_I;
}
CHANGE(no_such_dtype)
{
    attribute_of(node_of(graph, "placeholder"), "dtype")->dtype = 99;
}
CHANGE(reserved_dtype)
{
    attribute_of(node_of(graph, "placeholder"), "dtype")->dtype = 20;
}
CHANGE(no_such_constant)
{
    attribute_of(node_of(graph, "constant"), "tensor")->tensor = 1000;
}
CHANGE(bad_size)
{
    attribute_of(node_of(graph, "placeholder"), "shape")->shape->sizes[0] = -2;
}
CHANGE(huge_size)
{
    attribute_of(node_of(graph, "variable"), "shape")->shape->n_sizes = 0;
    attribute_of(node_of(graph, "placeholder"), "shape")->shape->sizes[1] = INT64_MIN;
}
CHANGE(lost_names)
{
    attribute_of(node_of(graph, "placeholder"), "shape")->shape->n_names--;
}
CHANGE(later_input)
{
    node_of(graph, "dropout")->input_nodes[0] = (int32_t)graph->n_nodes;
}
CHANGE(own_input)
{
    Tensorc__Node *node = node_of(graph, "dropout");
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i] == node)
            node->input_nodes[0] = (int32_t)i;
}
CHANGE(negative_input)
{
    node_of(graph, "dropout")->input_nodes[0] = INT32_MIN;
}
CHANGE(no_such_output)
{
    node_of(graph, "dropout")->input_outputs[0] = UINT32_MAX;
}
CHANGE(uneven_inputs)
{
    node_of(graph, "dropout")->n_input_outputs = 0;
}
CHANGE(missing_input)
{
    node_of(graph, "dropout")->input_nodes[0] = -1;
}
CHANGE(later_control)
{
    Tensorc__Node *node = node_of(graph, "identity");
    node->controls[0] = UINT32_MAX;
}
CHANGE(doubled_name)
{
    set(&graph->nodes[3]->name, graph->nodes[2]->name);
}
CHANGE(doubled_placeholder)
{
    set(&graph->nodes[1]->name, graph->nodes[0]->name);
}
CHANGE(bad_name)
{
    set(&graph->nodes[3]->name, "a b");
}
CHANGE(no_name)
{
    set(&graph->nodes[3]->name, "");
}
CHANGE(parameter_in_graph)
{
    set(&node_of(graph, "placeholder")->op, "parameter");
}
CHANGE(empty_note)
{
    Tensorc__Node *node = node_of(graph, "variable");
    set(&node->annotations[0]->key, "");
}
CHANGE(placeholder_in_function)
{
    set(&function_of(graph, "unused")->nodes[0]->op, "placeholder");
}
CHANGE(no_such_function)
{
    set(&attribute_of(node_of(graph, "call"), "function")->function, "g");
}
CHANGE(calls_itself)
{
    Tensorc__Function *outer = function_of(graph, "outer");
    for (size_t i = 0; i < outer->n_nodes; i++)
        if (strcmp(outer->nodes[i]->op, "call") == 0)
            set(&attribute_of(outer->nodes[i], "function")->function, "outer");
}
CHANGE(doubled_function)
{
    set(&function_of(graph, "unused")->name, "helper");
}
CHANGE(parent_later)
{
    function_of(graph, "inner")->parent = 4;
}
CHANGE(parent_itself)
{
    function_of(graph, "outer")->parent = 1;
}
CHANGE(no_parameters)
{
    function_of(graph, "unused")->n_parameters = 0;
}
CHANGE(no_such_parameter)
{
    function_of(graph, "unused")->parameters[0] = 1000;
}
CHANGE(wrong_parameter)
{
    function_of(graph, "unused")->parameters[0] = 1;
}
CHANGE(no_such_result)
{
    function_of(graph, "unused")->result_nodes[0] = 1000;
}
CHANGE(no_such_result_output)
{
    function_of(graph, "unused")->result_outputs[0] = 1;
}
CHANGE(uneven_results)
{
    function_of(graph, "unused")->n_result_outputs = 0;
}
CHANGE(no_such_capture)
{
    function_of(graph, "helper")->captures[0]->node = UINT32_MAX;
}
CHANGE(wrong_capture)
{
    function_of(graph, "helper")->captures[0]->parameter ^= 1;
}
CHANGE(captures_without_parameters)
{
    function_of(graph, "helper")->n_parameters = 0;
}
CHANGE(write_to_no_variable)
{
    function_of(graph, "outer")->captures[1]->node = 0;
}

static const hostile_graph hostile_graphs[] = {
    {unknown_op, TC_UNIMPLEMENTED,
     "operator 'dropuot', which this library does not know; the "
     "nearest is 'dropout'"},
    {newer_op, TC_UNIMPLEMENTED,
     "version 77 of operator 'dropout', but this library has version 1"},
    {no_version, TC_DATA_LOSS, "the version of operator 'dropout' is missing"},
    {unknown_attribute, TC_UNIMPLEMENTED, "attribute 'ratio', which operator dropout"},
    {missing_required, TC_DATA_LOSS, "attribute 'dtype' (a dtype) is required"},
    {wrong_type, TC_DATA_LOSS, "attribute 'dtype' must be a dtype, but is an int"},
    {no_such_dtype, TC_DATA_LOSS, "dtype 99"},
    {reserved_dtype, TC_DATA_LOSS, "string"},
    {no_such_constant, TC_DATA_LOSS, "constant 1000, but the file has"},
    {bad_size, TC_DATA_LOSS, "attribute 'shape' is a malformed shape"},
    {huge_size, TC_DATA_LOSS, "malformed shape"},
    {lost_names, TC_DATA_LOSS, "malformed shape"},
    {later_input, TC_DATA_LOSS, "which is no earlier value"},
    {own_input, TC_DATA_LOSS, "which is no earlier value"},
    {negative_input, TC_DATA_LOSS, "which is no earlier value"},
    {no_such_output, TC_DATA_LOSS, "which is no earlier value"},
    {uneven_inputs, TC_DATA_LOSS, "1 input_nodes, but 0 input_outputs"},
    {missing_input, TC_DATA_LOSS, "dropout"},
    {later_control, TC_DATA_LOSS, "control dependency 0"},
    {doubled_name, TC_DATA_LOSS, "another node has this name"},
    {doubled_placeholder, TC_DATA_LOSS, "the name is taken"},
    {bad_name, TC_DATA_LOSS, "has a character other than"},
    {no_name, TC_DATA_LOSS, "is empty"},
    {parameter_in_graph, TC_DATA_LOSS, "which only functions have"},
    {empty_note, TC_DATA_LOSS, "tc_annotate"},
    {placeholder_in_function, TC_DATA_LOSS, "belongs to the graph"},
    {no_such_function, TC_DATA_LOSS, "there is no function 'g'"},
    {calls_itself, TC_DATA_LOSS, "function 'outer' calls itself"},
    {doubled_function, TC_DATA_LOSS, "exists already"},
    {parent_later, TC_DATA_LOSS, "which is no earlier one"},
    {parent_itself, TC_DATA_LOSS, "which is no earlier one"},
    {no_parameters, TC_DATA_LOSS, "its parameters are broken"},
    {no_such_parameter, TC_DATA_LOSS, "its parameters are broken"},
    {wrong_parameter, TC_DATA_LOSS, "its parameters are broken"},
    {no_such_result, TC_DATA_LOSS, "result 0 is output 0 of node 1000"},
    {no_such_result_output, TC_DATA_LOSS, "result 0 is output 1"},
    {uneven_results, TC_DATA_LOSS, "1 result_nodes, but 0 result_outputs"},
    {no_such_capture, TC_DATA_LOSS, "capture 0 is broken"},
    {wrong_capture, TC_DATA_LOSS, "capture 0 is broken"},
    {captures_without_parameters, TC_DATA_LOSS, "1 captures, but 0 parameters"},
    {write_to_no_variable, TC_DATA_LOSS, "must be a variable itself"},
};

/* Copies the records of `from`, with the graph changed. */
static void rewrite(tc_records *from, void (*change)(Tensorc__Graph *graph))
{
    tc_records_writer writer;
    assert_ok(tc_records_begin(&writer, folder, from->kind, 0));
    tc_record record = {0};
    tc_arena arena = {0};
    while (tc_records_next(from, &record)) {
        if (record.number == TENSORC__RECORD__CONTENT_GRAPH) {
            Tensorc__Graph *graph;
            assert_ok(
                tc_records_unpack(from, &record, &tensorc__graph__descriptor, &arena, &graph));
            change(graph);
            assert_ok(tc_records_put(&writer, record.number, &graph->base));
            continue;
        }
        tc_stored_tensor stored;
        tc_tensor *tensor;
        assert_ok(tc_records_tensor(from, &record, &arena, &stored));
        assert_ok(tc_stored_tensor_get(from, &stored, &tensor));
        assert_ok(tc_records_put_tensor(&writer, NULL, tensor));
        tc_tensor_release(tensor);
    }
    tc_arena_free(&arena);
    assert_ok(tc_records_finish(&writer, path));
}

static void test_hostile_graphs(void **state)
{
    char original[TEST_PATH_SIZE];
    tc_graph *sample = sample_graph();
    assert_ok(tc_graph_save(sample, path));
    tc_graph_release(sample);
    assert_int_equal(rename(path, test_path(original, folder, "original")), 0);
    for (size_t i = 0; i < sizeof hostile_graphs / sizeof hostile_graphs[0]; i++) {
        tc_records records;
        assert_ok(tc_records_open(&records, original, TENSORC__KIND__KIND_GRAPH));
        rewrite(&records, hostile_graphs[i].change);
        tc_records_close(&records);
        tc_graph *graph;
        tc_status status = tc_graph_load(path, NULL, &graph);
        if (status != hostile_graphs[i].status ||
            !strstr(tc_error_message(), hostile_graphs[i].error))
            fail_msg("case %zu: %s instead of %s (%s): %s", i, tc_status_name(status),
                     tc_status_name(hostile_graphs[i].status), hostile_graphs[i].error,
                     tc_error_message());
        assert_null(graph);
        assert_error_contains(path);
    }
}

/*
 * Tensor records by hand
 */
typedef struct hostile_tensor {
    const char *bytes;
    size_t size;
    const char *error;
} hostile_tensor;

#define BYTES(text) (text), sizeof(text) - 1

static const hostile_tensor hostile_tensors[] = {
    {BYTES(""), "0 is not the number of a dtype"},
    {BYTES("\x10\x01\x1a\x01\x03\x7a\x04"
           "abcd"),
     "4 bytes of data, but its dtype and shape take 12"},
    {BYTES("\x10\x09\x1a\x01\x02\x7a\x03"
           "abc"),
     "3 bytes of data, but its dtype and shape take 2"},
    {BYTES("\x10\x09\x1a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01\x7a\x01"
           "a"),
     "more than 8 dimensions"},
    {BYTES("\x10\x09\x1a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x7a\x01"
           "a"),
     "tensor.shape is malformed"},
    {BYTES("\x10\x02\x1a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x7a\x01"
           "a"),
     "tensor ''"},
    {BYTES("\x10\x09\x1a\x0a\x80\x80\x80\x80\x80\x01\x80\x80\x80\x20\x7a\x01"
           "a"),
     "1 bytes of data"},
    {BYTES("\x10\x0d\x1a\x01\x02\x7a\x02\x01\x02"), "elements other than 0 and 1"},
    {BYTES("\x10\x14\x7a\x01"
           "a"),
     "string"},
    {BYTES("\x10\x63\x7a\x01"
           "a"),
     "0 is not the number of a dtype"},
    {BYTES("\x10\x09\x20\x01\x7a\x01"
           "a"),
     "a piece of a tensor without"},
    {BYTES("\x10\x09\x7a\x7f"
           "a"),
     "malformed field"},
    {BYTES("\x0a\x02\x00x\x10\x09\x7a\x01"
           "a"),
     "a zero byte"},
    {BYTES("\x0a\x01x\x10\x09\x7a\x01"
           "a"),
     "a graph file has no variables"},
    {BYTES("\x0b\x10\x09"), "malformed field"},
    {BYTES("\x00\x00"), "malformed field"},
};

static size_t write_record(uint8_t *out, uint32_t number, const void *content, size_t size)
{
    uint8_t *end = tc_wire_put_varint(out, size + 7);
    assert_true(size + 7 < 128);
    end = tc_wire_put_varint(end, TC_WIRE_TAG(number, TC_WIRE_BYTES));
    end = tc_wire_put_varint(end, size);
    memcpy(end, content, size);
    end += size;
    *end++ = TC_WIRE_TAG(15, TC_WIRE_FIXED32);
    return (size_t)(end + 4 - out);
}

static void test_hostile_tensors(void **state)
{
    tc_graph *graph = tc_graph_create();
    assert_ok(tc_graph_save(graph, path));
    tc_graph_release(graph);
    file_bytes bytes = file_read(path);
    size_t header = bytes.data[0] + 1u;
    for (size_t i = 0; i < sizeof hostile_tensors / sizeof hostile_tensors[0]; i++) {
        uint8_t file[512];
        memcpy(file, bytes.data, header);
        size_t size = header;
        size += write_record(file + size, TENSORC__RECORD__CONTENT_TENSOR, hostile_tensors[i].bytes,
                             hostile_tensors[i].size);
        assert_true(size + bytes.size - header < sizeof file);
        memcpy(file + size, bytes.data + header, bytes.size - header);
        size += bytes.size - header;
        container_repair(file, size);
        test_file_write(path, file, size);
        assert_status(tc_graph_load(path, NULL, &graph), TC_DATA_LOSS);
        assert_error_contains(hostile_tensors[i].error);
        assert_error_contains("byte ");
    }
    free(bytes.data);
}

/* Two bytes in a file must not become two hundred in memory. */
static void test_message_of_many_empty_nodes(void **state)
{
    enum { count = 8 << 20 };
    uint8_t *nodes = malloc(count * 2);
    assert_non_null(nodes);
    for (size_t i = 0; i < count; i++) {
        nodes[2 * i] = TC_WIRE_TAG(2, TC_WIRE_BYTES);
        nodes[2 * i + 1] = 0;
    }
    tc_mapping mapping = {.data = nodes, .size = 2 * count};
    tc_records records = {.mapping = &mapping, .path = "nodes"};
    const tc_record record = {TENSORC__RECORD__CONTENT_GRAPH, nodes, 2 * count, 0};
    tc_graph *graph;
    assert_status(tc_graph_get(&records, &record, NULL, 0, NULL, &graph), TC_DATA_LOSS);
    assert_error_contains("too much memory");
    free(nodes);
}

static void test_newer_format_and_other_kinds(void **state)
{
    tc_graph *graph = tc_graph_create();
    assert_ok(tc_graph_save(graph, path));
    tc_graph_release(graph);
    file_bytes bytes = file_read(path);
    /* magic, then format and kind: 10 01 18 01 */
    uint8_t *format = bytes.data + 5 + 7;
    assert_int_equal(format[0], 0x10);
    format[1] = 2;
    container_repair(bytes.data, bytes.size);
    test_file_write(path, bytes.data, bytes.size);
    assert_status(tc_graph_load(path, NULL, &graph), TC_UNIMPLEMENTED);
    assert_error_contains("format version 2");
    assert_error_contains("libtensorc 0.");
    format[1] = 1;
    format[3] = 9;
    container_repair(bytes.data, bytes.size);
    test_file_write(path, bytes.data, bytes.size);
    assert_status(tc_graph_load(path, NULL, &graph), TC_DATA_LOSS);
    assert_error_contains("header.kind is 9");
    free(bytes.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hostile_graphs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_message_of_many_empty_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_format_and_other_kinds, setup, teardown),
    };
    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
