import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Arrays;
import java.util.Properties;
import java.util.TreeSet;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serdes.StringSerde;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * One instance of a Kafka Streams application that counts and joins.
 *
 * <p>Arguments: HOST:PORT, the application's id, the folder of its state, and settings KEY=VALUE.
 * The topics are the id and what is read or written: ID-lines, ID-users and ID-payments to
 * ID-words, ID-seen, ID-windows, ID-greetings and ID-paid. Each line of the output is one event as
 * JSON; a line of the input is answered with the tasks of this instance. Ends, closing the
 * application, when its input ends.
 */
public final class Application {
    private static final Duration WINDOW = Duration.ofMinutes(1);
    /** Records of several partitions come in any order. */
    private static final Duration LATENESS = Duration.ofHours(1);
    private static final Duration CLOSING = Duration.ofSeconds(60);

    private Application() {
    }

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("application.id", arguments[1]);
        settings.put("state.dir", arguments[2]);
        settings.put("default.key.serde", StringSerde.class.getName());
        settings.put("default.value.serde", StringSerde.class.getName());
        for (String setting : Arrays.asList(arguments).subList(3, arguments.length)) {
            String[] both = setting.split("=", 2);
            settings.put(both[0], both[1]);
        }
        Topology topology = topology(arguments[1] + "-", settings);
        try (KafkaStreams streams = new KafkaStreams(topology, settings)) {
            streams.setStateListener((now, before) -> tell("state", "\"state\": \"" + now + "\""));
            streams.setGlobalStateRestoreListener(new Restoring());
            streams.setUncaughtExceptionHandler(thrown -> {
                tell("failed", "\"why\": " + quoted(causes(thrown)));
                return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse
                        .SHUTDOWN_CLIENT;
            });
            streams.start();
            BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                tellTasks(streams);
            }
            // Else the others miss it only when its session is over.
            CloseOptions leaving = CloseOptions.timeout(CLOSING).withGroupMembershipOperation(
                    CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
            if (!streams.close(leaving)) {
                throw new IllegalStateException("not closed within " + CLOSING);
            }
        }
    }

    private static Topology topology(String id, Properties settings) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream(id + "lines");
        countWords(lines, id);
        lines.groupByKey().windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, LATENESS))
                .count(Materialized.as("windows"))
                .toStream((key, count) -> key.key() + "@" + key.window().start())
                .to(id + "windows", Produced.valueSerde(Serdes.Long()));
        KTable<String, String> users = builder.table(id + "users", Materialized.as("users"));
        lines.join(users, (line, user) -> user + " wrote " + line).to(id + "greetings");
        KStream<String, String> payments =
                builder.stream(id + "payments", Consumed.with(Serdes.String(), Serdes.String()));
        lines.join(payments, (line, payment) -> line + "|" + payment,
                JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(1), LATENESS),
                StreamJoined.<String, String, String>as("paying").withName("paying"))
                .to(id + "paid");
        return builder.build(settings);
    }

    /** How often each word came, and in which lines: the latter does not change when read twice. */
    private static void countWords(KStream<String, String> lines, String id) {
        KStream<String, String> words = lines.flatMap((key, line) -> {
            String[] all = line.split(" ");
            // A line is its number and its words.
            return Arrays.stream(all).skip(1).map(word -> KeyValue.pair(word, all[0])).toList();
        });
        var byWord = words.groupByKey(Grouped.as("by-word"));
        byWord.count(Materialized.as("words")).toStream()
                .to(id + "words", Produced.valueSerde(Serdes.Long()));
        byWord.aggregate(() -> "", Application::with, Materialized.as("seen")).toStream()
                .to(id + "seen");
    }

    private static String with(String word, String number, String numbers) {
        TreeSet<String> all = new TreeSet<>(Arrays.asList(numbers.split(" ")));
        all.add(number);
        all.remove("");
        return String.join(" ", all);
    }

    private static void tellTasks(KafkaStreams streams) {
        TreeSet<String> active = new TreeSet<>();
        TreeSet<String> standby = new TreeSet<>();
        streams.metadataForLocalThreads().forEach(thread -> {
            thread.activeTasks().forEach(task -> active.add(quoted(task.taskId().toString())));
            thread.standbyTasks().forEach(task -> standby.add(quoted(task.taskId().toString())));
        });
        tell("tasks", "\"active\": " + active + ", \"standby\": " + standby);
    }

    private static String causes(Throwable thrown) {
        StringBuilder all = new StringBuilder();
        for (Throwable each = thrown; each != null; each = each.getCause()) {
            all.append(each).append("; ");
        }
        return all.toString();
    }

    private static String quoted(String text) {
        return "\"" + text.replaceAll("[\"\\\\\\p{Cntrl}]", " ") + "\"";
    }

    private static synchronized void tell(String what, String more) {
        System.out.println("{\"what\": \"" + what + "\", " + more + "}");
    }

    private static final class Restoring implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long start, long end) {
            tell("restoring", "\"store\": \"" + store + "\", \"partition\": "
                    + partition.partition() + ", \"start\": " + start + ", \"end\": " + end);
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long end, long count) {
            // The sum of all batches is told at the end.
        }

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long total) {
            tell("restored", "\"store\": \"" + store + "\", \"partition\": "
                    + partition.partition() + ", \"records\": " + total);
        }
    }
}
