### Models, and the place to try them.

models-what = يقدمها هذا المصنع من عنوان واحد متوافق مع واجهة OpenAI.
models-none = لا تُقدَّم هنا أي نماذج
models-none-what = يسمّي مشغّل المصنع بعضها في { $file } ثم يعيد تشغيله. فتظهر هنا بأسعارها واستخدامها ومكان لتجربتها.
models-example = مثال على { $file }
models-catalogue = الفهرس
models-model = النموذج
models-languages = اللغات
models-licence = الرخصة
models-where = المكان
models-nowhere = غير متاح الآن
models-origin = صُنع في { $country }
models-external = ملاذ أخير: { $provider }
models-context = السياق، رموز
models-price-in = مليون رمز إدخال
models-price-out = مليون رمز إخراج
models-requests = الطلبات
models-tokens = الرموز
models-not-served = لم يعد يُقدَّم
models-used-in = الاستخدام في { $month } بما فيه ما لم يُقيَّد بعد:
models-all-tenants = كل الجهات.
models-own = جهتك.
models-ledger-away = الاستخدام غير معروف الآن: سجل البوابة لا يجيب.
models-try = تجربة
models-try-what = يُسأل بمفتاحك وبسعرك
models-try-note = تحدد فئة البيانات أين يجوز أن يُجاب عنها. لا تحتفظ هذه الصفحة بشيء منها.
models-class = فئة البيانات
models-prompt = النص المرسل
models-tokens-max = الحد الأقصى لرموز الجواب
models-ask = إرسال
models-stop = إيقاف
models-answer = الجواب
models-wait = في انتظار الجواب.
models-cut = انقطع الجواب هنا.
models-may-not = لا يسمح دورك بسؤال النماذج: اطلب دور عضو لتجربتها.
models-answered-in = أُجيب في
models-answered-by = أجاب
models-how = السؤال من برنامجك
models-how-what = بمفتاح لك في TAWTIN_KEY، ولا يحتاج عميل openai إلى غير ذلك.
models-address = العنوان
models-workers = العمليات العاملة
models-replicas = خوادم النماذج
models-replica = الخادم
models-open = الجارية الآن
models-answered = المُجاب عنها
models-failures = المحاولات الفاشلة
models-hedges = المكررة
models-asked = يُسأل
models-untold = لم يُبلَّغ عنه بعد
models-shut = { $count ->
    [zero] لم تتجنبه أي عملية
    [one] تتجنبه عملية واحدة
    [two] تتجنبه عمليتان
    [few] تتجنبه { $count } عمليات
    [many] تتجنبه { $count } عملية
   *[other] تتجنبه { $count } عملية
}
models-no-replicas = لا يوجد الآن أي خادم لنموذج.
models-replicas-what = محسوبة منذ بدء عمليات البوابة.
