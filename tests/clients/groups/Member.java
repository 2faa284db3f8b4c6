import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Members of a group, one thread each; arguments and output as in member.py. */
public final class Member {
    private static final Map<String, String> ASSIGNORS = Map.of(
            "range", "org.apache.kafka.clients.consumer.RangeAssignor",
            "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            "sticky", "org.apache.kafka.clients.consumer.StickyAssignor",
            "cooperative-sticky",
            "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    private static volatile boolean stopping;

    private final int number;
    private final String topic;
    private final Properties settings = new Properties();

    private Member(String[] arguments, int number) {
        this.number = number;
        topic = arguments[3];
        settings.put("bootstrap.servers", arguments[1]);
        settings.put("group.id", arguments[2]);
        settings.put("client.id", arguments[2] + "-" + number);
        settings.put("group.protocol", arguments[4]);
        // Else it forgets all topics when no broker answers, and joins anew because they changed.
        settings.put("metadata.recovery.strategy", "none");
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("key.deserializer", ByteArrayDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        if (arguments[4].equals("consumer")) {
            settings.put("group.remote.assignor", arguments[5]);
        } else {
            settings.put("partition.assignment.strategy", ASSIGNORS.get(arguments[5]));
            settings.put("session.timeout.ms", "6000");
            settings.put("heartbeat.interval.ms", "300");
        }
    }

    public static void main(String[] arguments) throws Exception {
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < Integer.parseInt(arguments[6]); number++) {
            Thread thread = new Thread(new Member(arguments, number)::run);
            thread.start();
            threads.add(thread);
        }
        while (System.in.read() >= 0) {
            // Only its end counts.
        }
        stopping = true;
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private void run() {
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            consumer.subscribe(List.of(topic), new Listener());
            while (!stopping) {
                try {
                    readOn(consumer);
                } catch (KafkaException refused) {
                    // A member that was stalled hears from either call that it is none any more.
                    tell("refused", List.of(), ", \"why\": \"" + refused.getClass() + "\"");
                }
            }
        }
    }

    private void readOn(KafkaConsumer<byte[], byte[]> consumer) {
        List<String> records = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> got : consumer.poll(Duration.ofMillis(100))) {
            records.add("[" + got.partition() + ", " + got.offset() + "]");
        }
        if (!records.isEmpty()) {
            tell("records", List.of(), ", \"records\": " + records);
            consumer.commitSync();
        }
    }

    private void tell(String what, Collection<TopicPartition> about, String more) {
        TreeSet<Integer> partitions = new TreeSet<>();
        about.forEach(each -> partitions.add(each.partition()));
        System.out.println("{\"at\": " + System.nanoTime() + ", \"member\": " + number
                + ", \"what\": \"" + what + "\", \"partitions\": " + partitions + more + "}");
    }

    private final class Listener implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            tell("assigned", partitions, "");
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            tell("revoked", partitions, "");
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            tell("lost", partitions, "");
        }
    }
}
