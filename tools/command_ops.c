/* Everything the registry knows of each operator, as text or JSON. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <tensorc/device.h>
#include <tensorc/extend.h>

#include "commands.h"

/*
 * What both formats say
 */
static const char *const attr_type_names[] = {"none",   "int",     "float",  "bool",
                                              "string", "dtype",   "shape",  "ints",
                                              "floats", "strings", "tensor", "function"};

static const char *gradient_state(const tc_op *op)
{
    if (op->grad)
        return op->grad == TC_GRAD_NONE ? "none" : "yes";
    /* Calls are differentiated through the body of what they call. */
    for (int i = 0; i < op->n_attrs; i++)
        if (op->attrs[i].type == TC_ATTR_FUNCTION)
            return "of its function";
    return "missing";
}

/*
 * One device of each type.
 */
#define MAX_DEVICES 64
#define MAX_TYPES   8

static struct {
    char name[32];
    int32_t device;
} types[MAX_TYPES];
static int n_types;

static bool find_types(void)
{
    tc_device_info infos[MAX_DEVICES];
    size_t count;
    if (tc_device_list(NULL, infos, MAX_DEVICES, &count, NULL, 0) != TC_OK)
        return false;
    for (size_t i = 0; i < count && i < MAX_DEVICES && n_types < MAX_TYPES; i++) {
        if (infos[i].index != 0)
            continue;
        snprintf(types[n_types].name, sizeof types[n_types].name, "%.*s",
                 (int)strcspn(infos[i].name, ":"), infos[i].name);
        types[n_types++].device = (int32_t)i;
    }
    return true;
}

static unsigned kernel_dtypes(const tc_op *op, int type)
{
    uint32_t dtypes = 0;
    if (tc_device_kernels(NULL, types[type].device, op->name, &dtypes) != TC_OK)
        dtypes = 0;
    return dtypes;
}

static void write_dtypes(char *buffer, size_t size, unsigned dtypes, const char *separator)
{
    size_t length = 0;
    buffer[0] = '\0';
    for (int dtype = 1; dtype < TC_DTYPE_COUNT; dtype++) {
        if (!(dtypes & (1u << dtype)) || length >= size)
            continue;
        length += (size_t)snprintf(buffer + length, size - length, "%s%s", length ? separator : "",
                                   tc_dtype_name((tc_dtype)dtype));
    }
}

static void write_default(char *buffer, size_t size, const tc_attr *value)
{
    switch (value->type) {
    case TC_ATTR_INT: snprintf(buffer, size, "%lld", (long long)value->i); break;
    case TC_ATTR_FLOAT: snprintf(buffer, size, "%.9g", value->f); break;
    case TC_ATTR_BOOL: snprintf(buffer, size, "%s", value->b ? "true" : "false"); break;
    case TC_ATTR_STRING:
    case TC_ATTR_FUNCTION: snprintf(buffer, size, "\"%s\"", value->s ? value->s : ""); break;
    case TC_ATTR_DTYPE: snprintf(buffer, size, "\"%s\"", tc_dtype_name(value->dtype)); break;
    case TC_ATTR_INTS: {
        size_t length = (size_t)snprintf(buffer, size, "[");
        for (int32_t i = 0; i < value->count && length < size; i++)
            length += (size_t)snprintf(buffer + length, size - length, "%s%lld", i ? ", " : "",
                                       (long long)value->ints[i]);
        if (length < size)
            snprintf(buffer + length, size - length, "]");
        break;
    }
    default: snprintf(buffer, size, "null");
    }
}

static const struct {
    unsigned flag;
    const char *name;
} port_flags[] = {{TC_PORT_OPTIONAL, "optional"},
                  {TC_PORT_VARIADIC, "variadic"},
                  {TC_PORT_RESOURCE, "resource"},
                  {TC_PORT_SHAPE_ONLY, "shape only"},
                  {TC_PORT_INITIAL, "initial"}};

/*
 * Text
 */
static void print_ports(const char *title, const tc_port *ports, int count)
{
    for (int i = 0; i < count; i++) {
        char dtypes[256];
        write_dtypes(dtypes, sizeof dtypes, ports[i].dtypes, " ");
        printf("  %-7s %-16s %s", i ? "" : title, ports[i].name, dtypes);
        if (ports[i].type)
            printf(" (%c)", ports[i].type);
        for (size_t f = 0; f < sizeof port_flags / sizeof port_flags[0]; f++)
            if (ports[i].flags & port_flags[f].flag)
                printf(", %s", port_flags[f].name);
        printf("%s%s\n", ports[i].doc ? ": " : "", ports[i].doc ? ports[i].doc : "");
    }
}

static void print_op(const tc_op *op)
{
    printf("%s (version %d): %s\n", op->name, (int)op->version, op->doc);
    print_ports("inputs", op->inputs, op->n_inputs);
    print_ports("outputs", op->outputs, op->n_outputs);
    for (int i = 0; i < op->n_attrs; i++) {
        const tc_attr_def *attr = &op->attrs[i];
        char fallback[256];
        write_default(fallback, sizeof fallback, &attr->fallback);
        printf("  %-7s %-16s %s, %s%s", i ? "" : "attrs", attr->name, attr_type_names[attr->type],
               attr->fallback.type == TC_ATTR_NONE ? "required" : "default ",
               attr->fallback.type == TC_ATTR_NONE ? "" : fallback);
        if (attr->choices)
            printf(", one of %s", attr->choices);
        printf("%s%s\n", attr->doc ? ": " : "", attr->doc ? attr->doc : "");
    }
    printf("  gradient %s\n", gradient_state(op));
    for (int i = 0; i < n_types; i++) {
        char dtypes[256];
        write_dtypes(dtypes, sizeof dtypes, kernel_dtypes(op, i), " ");
        printf("  %-7s %-16s %s\n", i ? "" : "kernels", types[i].name, dtypes[0] ? dtypes : "none");
    }
    printf("\n");
}

/*
 * JSON
 */
static void print_json_string(const char *text)
{
    putchar('"');
    for (const char *c = text ? text : ""; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            printf("\\u%04x", (unsigned)(unsigned char)*c);
        else
            putchar(*c);
    }
    putchar('"');
}

static void print_json_member(const char *key, const char *text)
{
    printf("\"%s\": ", key);
    print_json_string(text);
}

static void print_json_dtypes(unsigned dtypes)
{
    char list[256];
    write_dtypes(list, sizeof list, dtypes, "\", \"");
    printf("[%s%s%s]", list[0] ? "\"" : "", list, list[0] ? "\"" : "");
}

static void print_json_ports(const char *key, const tc_port *ports, int count)
{
    printf("\"%s\": [", key);
    for (int i = 0; i < count; i++) {
        printf("%s{", i ? ", " : "");
        print_json_member("name", ports[i].name);
        printf(", \"dtypes\": ");
        print_json_dtypes(ports[i].dtypes);
        char type[2] = {ports[i].type, '\0'};
        printf(", ");
        print_json_member("type", type);
        printf(", \"flags\": [");
        const char *separator = "";
        for (size_t f = 0; f < sizeof port_flags / sizeof port_flags[0]; f++) {
            if (!(ports[i].flags & port_flags[f].flag))
                continue;
            printf("%s\"%s\"", separator, port_flags[f].name);
            separator = ", ";
        }
        printf("], ");
        print_json_member("doc", ports[i].doc);
        printf("}");
    }
    printf("]");
}

static void print_json_attrs(const tc_op *op)
{
    printf("\"attrs\": [");
    for (int i = 0; i < op->n_attrs; i++) {
        const tc_attr_def *attr = &op->attrs[i];
        bool required = attr->fallback.type == TC_ATTR_NONE;
        char fallback[256];
        write_default(fallback, sizeof fallback, &attr->fallback);
        printf("%s{", i ? ", " : "");
        print_json_member("name", attr->name);
        printf(", ");
        print_json_member("type", attr_type_names[attr->type]);
        printf(", \"required\": %s, \"default\": %s, ", required ? "true" : "false", fallback);
        print_json_member("choices", attr->choices);
        printf(", ");
        print_json_member("doc", attr->doc);
        printf("}");
    }
    printf("]");
}

static void print_json_op(const tc_op *op)
{
    printf("{");
    print_json_member("name", op->name);
    printf(", \"version\": %d, ", (int)op->version);
    print_json_member("doc", op->doc);
    printf(", ");
    print_json_ports("inputs", op->inputs, op->n_inputs);
    printf(", ");
    print_json_ports("outputs", op->outputs, op->n_outputs);
    printf(", ");
    print_json_attrs(op);
    printf(", ");
    print_json_member("gradient", gradient_state(op));
    printf(", \"kernels\": {");
    for (int i = 0; i < n_types; i++) {
        printf("%s\"%s\": ", i ? ", " : "", types[i].name);
        print_json_dtypes(kernel_dtypes(op, i));
    }
    printf("}}");
}

static bool is_wanted(const tc_op *op, int argc, char **argv)
{
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            continue;
        any = true;
        if (strcmp(argv[i], op->name) == 0)
            return true;
    }
    return !any;
}

int command_ops(int argc, char **argv)
{
    bool json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (argv[i][0] == '-')
            return usage_error(argv[0], "unknown option", argv[i]);
        else if (!tc_registry_find_op(NULL, argv[i]))
            return usage_error(argv[0], "there is no operator of that name", argv[i]);
    }
    if (!find_types())
        return library_error(argv[0]);
    int32_t count = tc_registry_op_count(NULL);
    const char *separator = "";
    if (json)
        printf("[\n");
    for (int32_t i = 0; i < count; i++) {
        const tc_op *op = tc_registry_op(NULL, i);
        if (!is_wanted(op, argc, argv))
            continue;
        if (json) {
            printf("%s", separator);
            print_json_op(op);
            separator = ",\n";
        } else {
            print_op(op);
        }
    }
    if (json)
        printf("\n]\n");
    return 0;
}
