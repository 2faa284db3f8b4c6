import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.locks.LockSupport;

import org.apache.kafka.common.utils.Exit;
import org.slf4j.LoggerFactory;

/**
 * Runs Kafka's command-line tools one after the other in one JVM, whose start costs more than most
 * of them.
 *
 * A command is a line of fields with spaces between them, each in Base64: the tool's class, what it
 * reads from standard input, its arguments. The answer is a line of three fields: exit code, what
 * it wrote to standard output, what it wrote to standard error.
 */
public final class RunTools {
    /** The exit code of the tool that runs. */
    private static volatile CompletableFuture<Integer> end;
    /** What the tool wants done when it ends: a producer sends what it still holds. */
    private static final List<Runnable> hooks = new CopyOnWriteArrayList<>();
    private static final long HOOK_MILLIS_MAX = 10_000;

    private RunTools() {
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        // Log lines keep to the standard error of this moment.
        LoggerFactory.getLogger(RunTools.class);
        Exit.setExitProcedure((code, message) -> leave(code));
        Exit.setHaltProcedure((code, message) -> leave(code));
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        BufferedReader commands =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            List<byte[]> fields = new ArrayList<>();
            for (String field : line.split(" ", -1)) {
                fields.add(Base64.getDecoder().decode(field));
            }
            String tool = text(fields.get(0));
            String[] rest = fields.stream().skip(2).map(RunTools::text).toArray(String[]::new);
            answers.println(run(tool, fields.get(1), rest));
            answers.flush();
        }
    }

    private static String run(String tool, byte[] input, String[] arguments)
            throws InterruptedException {
        InputStream in = System.in;
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream written = new ByteArrayOutputStream();
        ByteArrayOutputStream complained = new ByteArrayOutputStream();
        System.setIn(new ByteArrayInputStream(input));
        System.setOut(new PrintStream(written, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(complained, true, StandardCharsets.UTF_8));
        end = new CompletableFuture<>();
        Thread thread = new Thread(() -> call(tool, arguments), tool);
        thread.setDaemon(true);
        thread.start();
        int code;
        try {
            code = end.join();
            for (Runnable hook : hooks) {
                Thread last = new Thread(hook);
                last.setDaemon(true);
                last.start();
                last.join(HOOK_MILLIS_MAX);
            }
        } finally {
            hooks.clear();

            System.out.flush();
            System.err.flush();
            System.setIn(in);
            System.setOut(out);
            System.setErr(err);
        }
        Base64.Encoder encoder = Base64.getEncoder();
        return code + " " + encoder.encodeToString(written.toByteArray()) + " "
            + encoder.encodeToString(complained.toByteArray());
    }

    private static void call(String tool, String[] arguments) {
        try {
            Class.forName(tool).getMethod("main", String[].class)
                .invoke(null, (Object) arguments);
            end.complete(0);
        } catch (InvocationTargetException thrown) {
            // As the launcher of the JVM does.
            thrown.getCause().printStackTrace();
            end.complete(1);
        } catch (ReflectiveOperationException missing) {
            missing.printStackTrace();
            end.complete(1);
        }
    }

    /** Where a tool would end the JVM its thread ends instead: it waits, and does nothing more. */
    private static void leave(int code) {
        end.complete(code);
        while (true) {
            LockSupport.park();
        }
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
